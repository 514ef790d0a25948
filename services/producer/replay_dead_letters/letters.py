"""Which dead letters are parsed anew, and what becomes of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, ParsedChunk
from shared.schemas import DeadLetter, DeadLetterReason
from shared.schemas.dead_letter import SOURCE_HOST_HEADER, Headers
from shared.tools.marks import RESOLVED
from shared.tools.ranges import Ranges

# Lines that are whole; what was cut can only be parsed wrongly.
REASONS = (DeadLetterReason.UNPARSEABLE_LINE, DeadLetterReason.INVALID_VALUE, DeadLetterReason.RECORD_TOO_LARGE)
MAX_SAMPLES = 3
SAMPLE_CHARACTERS = 200


class Resolved:
    """The lines that are records already, of one host, by generation. Lines that adjoin cost as much as one."""

    def __init__(self) -> None:
        self._lines: dict[str, Ranges] = {}

    def add(self, generation: str, offset: int, length: int) -> None:
        """The line of `length` bytes at `offset`, and its newline."""
        self._lines.setdefault(generation, Ranges()).add(offset, offset + length + 1)

    def __contains__(self, line: tuple[str, int]) -> bool:
        generation, offset = line
        return generation in self._lines and offset in self._lines[generation]

    def add_marker(self, headers: Headers, host: str) -> None:
        """A record of the dead-letter topic; only markers of this host count."""
        found = dict(headers)
        if RESOLVED in found and found.get(SOURCE_HOST_HEADER) == host.encode():
            generation = found["dlt-source-generation"].decode()
            self.add(generation, int(found["dlt-source-offset"]), int(found["dlt-raw-length"]))


@dataclass(frozen=True, slots=True)
class Line:
    """A rejected line, and its place in the dead-letter topic."""

    letter: DeadLetter
    generation: str
    offset: int
    partition: int
    place: str

    def marker_headers(self) -> list[tuple[str, bytes]]:
        """What says in the dead-letter topic that the line is a record now."""
        named = [pair for pair in self.letter.headers() if pair[0].startswith(("dlt-source-", "dlt-raw-length"))]
        return [(RESOLVED, self.place.encode()), *named]


def line_of(value: bytes, key: bytes | None, headers: Headers, host: str, place: tuple[int, int]) -> Line | None:
    """The rejected line of a dead letter at this partition and offset.

    None for a marker, for what a consumer set aside, for other hosts, and for what is no dead letter at all.
    """
    if any(name == RESOLVED for name, _value in headers):
        return None
    try:
        letter = DeadLetter.from_record(value, key, headers)
    except (ValidationError, UnicodeDecodeError):
        return None
    if letter.source_host != host or letter.source_generation is None or letter.source_offset is None:
        return None
    partition, offset = place
    return Line(letter, letter.source_generation, letter.source_offset, partition, f"{partition}/{offset}")


def parse_again(parser: ChunkParser, line: Line) -> ParsedChunk:
    """The line as a piece of its file."""
    raw = line.letter.raw + b"\n"
    file = FileIdentity(line.letter.source_file or "", 0, 0, line.generation, 0, "")
    return parser.parse(Chunk(file, line.offset, line.offset + len(raw), raw))


def refusal(line: Line) -> str | None:
    """Why a line is not parsed again; None when it is."""
    if line.letter.raw_length != len(line.letter.raw):
        return "only its beginning was kept"
    return None if line.letter.reason in REASONS else f"{line.letter.reason.value} is not to be mended by a parser"


@dataclass
class Report:
    """What became of the dead letters, by reason."""

    sent: Counter[str] = field(default_factory=Counter)
    resolved_before: int = 0
    still: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def begin(self) -> None:
        """The letters are read from the first one again; what was sent stays sent."""
        self.resolved_before = -self.sent.total()  # they are found resolved now
        self.still.clear()
        self.samples.clear()

    def keep(self, line: Line, message: str) -> None:
        """A line that stays a dead letter."""
        reason = line.letter.reason.value
        self.still[reason] += 1
        samples = self.samples.setdefault(reason, [])
        if len(samples) < MAX_SAMPLES:
            text = line.letter.raw[:SAMPLE_CHARACTERS].decode(errors="backslashreplace")
            samples.append(f"{line.letter.source_file} byte {line.offset}: {message}: {text}")

    def preview(self, count: int) -> Iterator[str]:
        """In words, before `count` records are sent."""
        yield f"Dead letters that are records now: {count:,}."
        yield from self._rest()

    def lines(self) -> Iterator[str]:
        """In words."""
        yield f"Records now: {self.sent.total():,}{_by_reason(self.sent)}."
        yield from self._rest()

    def _rest(self) -> Iterator[str]:
        if self.resolved_before:
            yield f"Records since earlier: {self.resolved_before:,}."
        yield f"Still dead letters: {self.still.total():,}{_by_reason(self.still)}."
        for samples in self.samples.values():
            yield from (f"  {sample}" for sample in samples)


def _by_reason(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{reason}: {count:,}' for reason, count in counts.most_common())})" if counts else ""


def parse_reasons(text: str | None) -> Sequence[DeadLetterReason]:
    """The reasons asked for, comma-separated; all without. Raises ValueError for one that is none of REASONS."""
    if not text:
        return REASONS
    named = [DeadLetterReason(name.strip()) for name in text.split(",")]
    if not set(named) <= set(REASONS):
        raise ValueError("not to be mended by a parser")
    return named
