"""HANDLER=bench.sinks.handler:handle"""

from __future__ import annotations

from collections.abc import Sequence

from bench.sinks.file import FileSink
from shared.schemas import AccessRecord

_sink = FileSink()


async def handle(records: Sequence[AccessRecord]) -> None:
    """Write them."""
    _sink.write(records)
