"""HANDLER=bench.consumers.counting:handle: a handler that only counts."""

from __future__ import annotations

from collections.abc import Sequence

from bench.consumers.tally import Tally
from shared.schemas import AccessRecord

_tally = Tally.from_environment()


async def handle(records: Sequence[AccessRecord]) -> None:
    """Count."""
    _tally.add(len(records))
