"""HANDLER=services.consumer.examples.errors_only:handle prints the requests that a server failed to answer."""

from collections.abc import Sequence

from shared.schemas import AccessRecord


async def handle(records: Sequence[AccessRecord]) -> None:
    for record in records:
        if record.status >= 500:
            print(record.time, record.status, record.method, record.path, flush=True)
