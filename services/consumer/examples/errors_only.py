"""HANDLER=services.consumer.examples.errors_only:handle prints the requests that a server failed to answer."""

from collections.abc import Sequence

from shared.schemas import AccessRecord


async def handle(records: Sequence[AccessRecord]) -> None:
    for record in records:
        if record.status >= 500:
            # The client chose these characters: unescaped, they could steer the terminal that shows them.
            request = f"{record.method} {record.path}".encode("unicode_escape").decode()
            print(record.time, record.status, request, flush=True)
