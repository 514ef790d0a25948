"""One block of a file, line by line, beside what the topic holds of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from services.producer.audit.digests import Place, place_of_value
from services.producer.chunk import Chunk
from services.producer.parse import ChunkParser, ParsedChunk
from shared.tools.ranges import Ranges

MAX_SAMPLES = 5


@dataclass(slots=True)
class Findings:
    """What is wrong with a file, as ranges of its bytes, and some of it in words.

    `gone` is missing and may have been deleted by the topic's retention, `unverified` is there but cannot be compared
    with a parse in the present format.
    """

    missing: Ranges = field(default_factory=Ranges)
    gone: Ranges = field(default_factory=Ranges)
    skipped: Ranges = field(default_factory=Ranges)
    doubled: Ranges = field(default_factory=Ranges)
    different: Ranges = field(default_factory=Ranges)
    unverified: Ranges = field(default_factory=Ranges)
    samples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is missing, doubled or different."""
        return not (self.missing or self.doubled or self.different)

    def sample(self, text: str) -> None:
        """Remember an example; the first ones do."""
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(text)


@dataclass(slots=True)
class _Line:
    """A line as it should be in the topic. `end` is behind its newline; `content` as a digest compares it."""

    end: int
    length: int
    content_hash: int
    seen: int = 0


class Examination:
    """Give it every parsed piece of the block, then every record and dead letter of it; then ask for what is amiss."""

    def __init__(self, parser: ChunkParser, start: int, end: int) -> None:
        self._parser = parser
        self._start, self._end = start, end
        self._chunks: list[Chunk] = []
        self._lines: dict[int, _Line] = {}

    def add(self, parsed: ParsedChunk) -> None:
        """What the producer makes of a piece of the file."""
        self._chunks.append(parsed.chunk)
        for value in parsed.values:
            place = place_of_value(value)
            assert place is not None, "the parser writes what is read here"
            self._expect(parsed.chunk, place.offset, place.length, place.content)
        for reject in parsed.rejects:
            self._expect(parsed.chunk, reject.offset, reject.length, reject.raw)

    def _expect(self, chunk: Chunk, offset: int, length: int, content: bytes) -> None:
        if self._start <= offset < self._end:
            end = min(offset + length + 1, chunk.end)
            self._lines[offset] = _Line(end, length, hash(content))

    def see(self, place: Place, *, is_letter: bool, findings: Findings) -> None:
        """A record or dead letter whose line should stand in this block."""
        line = self._lines.get(place.offset)
        if line is None:
            findings.different.add(place.offset, place.offset + max(1, place.length))
            findings.sample(f"byte {place.offset}: a record says that a line begins here, and none does")
            return
        line.seen += 1
        if line.length != place.length:
            findings.different.add(place.offset, line.end)
            findings.sample(f"byte {place.offset}: the line has {line.length} bytes, its record says {place.length}")
        elif line.content_hash != hash(place.content):
            self._compare(place, line, is_letter, findings)

    def _compare(self, place: Place, line: _Line, is_letter: bool, findings: Findings) -> None:
        raw = self._raw(place.offset, line.length)
        difference = None
        if is_letter:
            if not (place.content and raw.startswith(place.content)):
                difference = "the bytes of the dead letter"
        else:
            parsed = self._parse_again(place.offset, line.length)
            if not parsed.values:
                findings.unverified.add(place.offset, line.end)
                return
            difference = different_fields(place.content, parsed.values[0])
        if difference:
            findings.different.add(place.offset, line.end)
            findings.sample(f"byte {place.offset}: {difference} are not what the line says")

    def _parse_again(self, offset: int, length: int) -> ParsedChunk:
        """One line by itself."""
        chunk = self._chunk_of(offset)
        raw = self._raw(offset, length) + b"\n"
        return self._parser.parse(Chunk(chunk.file, offset, offset + len(raw), raw))

    def _raw(self, offset: int, length: int) -> bytes:
        chunk = self._chunk_of(offset)
        return chunk.data[offset - chunk.start : offset - chunk.start + length]

    def _chunk_of(self, offset: int) -> Chunk:
        return next(chunk for chunk in self._chunks if chunk.start <= offset < chunk.end)

    def conclude(self, findings: Findings, is_gone: Callable[[int, Callable[[], ParsedChunk]], bool]) -> None:
        """Add what is missing and doubled.

        `is_gone` says of an offset whether retention may have deleted the line's record; it may ask for its parse.
        """
        for offset, line in sorted(self._lines.items()):
            if line.seen == 0:
                gone = is_gone(offset, partial(self._parse_again, offset, line.length))
                (findings.gone if gone else findings.missing).add(offset, line.end)
            elif line.seen > 1:
                findings.doubled.add(offset, line.end)


def different_fields(found: bytes, expected: bytes) -> str | None:
    """The fields that two records both have and say differently; None when there are none.

    A field that one of them lacks was added or removed by another version. `found` lacks its source.
    """
    try:
        ours, theirs = json.loads(expected), json.loads(found.replace(b",}", b"}"))
    except ValueError:
        return "the JSON of the record"
    names = [name for name, value in ours.items() if name in theirs and theirs[name] != value]
    return ", ".join(names) or None
