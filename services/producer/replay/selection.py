"""Which lines of a file a replay means. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.producer.chunk import Chunk
from services.producer.parse import ParsedChunk
from shared.errors import InvalidSettings

Bound = int | datetime
_TIME = re.compile(rb'"time":("[^"]+")')


def parse_bound(name: str, text: str | None) -> Bound | None:
    """A byte offset or an ISO time, in UTC where it says no zone. Raises InvalidSettings."""
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSettings(
            f"{name}={text!r} is neither a byte offset (such as 38561) nor a time (such as 2026-11-22T16:00:00+01:00)"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """The lines whose first byte is in `[start, end)` and, where they are given, whose time is in `[since, until)`."""

    start: int
    end: int
    since: datetime | None = None
    until: datetime | None = None

    @property
    def by_time(self) -> bool:
        return self.since is not None or self.until is not None

    def of(self, parsed: ParsedChunk) -> ParsedChunk:
        """What of a piece of the file is meant. What is no record has no time and is in no range of times."""
        if not self.by_time:
            return parsed
        kept = [number for number, value in enumerate(parsed.values) if self._includes(time_of(value))]
        return replace(
            parsed,
            values=[parsed.values[number] for number in kept],
            addresses=[parsed.addresses[number] for number in kept],
            offsets=[parsed.offsets[number] for number in kept],
            rejects=[],
        )

    def _includes(self, time: datetime) -> bool:
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def select(start: Bound | None, end: Bound | None, confirmed: int) -> Selection:
    """The selection for FROM and TO; without them everything that is confirmed. Raises InvalidSettings."""
    since, until = (bound if isinstance(bound, datetime) else None for bound in (start, end))
    first = start if isinstance(start, int) else 0
    last = end if isinstance(end, int) else confirmed
    if last > confirmed:
        raise InvalidSettings(
            f"TO={last} is not allowed: only bytes below {confirmed} are confirmed; "
            "what comes after them the producer sends by itself"
        )
    if first >= last or (since and until and since >= until):
        raise InvalidSettings(f"FROM={start} to TO={end} is an empty range; bytes 0 to {confirmed} are confirmed")
    return Selection(first, last, since, until)


def line_boundaries(chunk: Chunk, position: int) -> tuple[int, int]:
    """The nearest beginnings of lines around a byte of the chunk; twice the byte itself where it is one."""
    at = position - chunk.start
    before = chunk.start + chunk.data.rfind(b"\n", 0, at) + 1
    newline = chunk.data.find(b"\n", at)
    return before, position if before == position else (chunk.start + newline + 1 if newline >= 0 else chunk.end)


def time_of(value: bytes) -> datetime:
    """The time of a record."""
    match = _TIME.search(value)
    assert match is not None, "every record has a time"
    return datetime.fromisoformat(json.loads(match[1]))


@dataclass
class Preview:
    """What a selection would send."""

    records: int = 0
    dead_letters: int = 0
    bytes: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None

    def add(self, parsed: ParsedChunk) -> None:
        """Count a selected piece."""
        self.records += len(parsed.values)
        self.dead_letters += len(parsed.rejects)
        self.bytes += sum(map(len, parsed.values)) + sum(len(reject.raw) for reject in parsed.rejects)
        if parsed.values:
            self.first_time = self.first_time or time_of(parsed.values[0])
            self.last_time = time_of(parsed.values[-1])

    def sentence(self) -> str:
        """In words."""
        times = f", logged from {self.first_time} to {self.last_time}" if self.first_time else ""
        return f"{self.records:,} records and {self.dead_letters:,} dead letters, {self.bytes:,} bytes{times}"
