"""The ledger: at every moment what was read is what became of it, in bytes and in lines, file by file and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.producer import ledger as ledger_module
from services.producer.chunk import Chunk, ChunkKind, KnownFile
from services.producer.deliver.delivered import Delivered
from services.producer.ledger import Account, Ledger, Tally
from services.producer.parse import ChunkParser, LogFormat, ParsedChunk, reject_oversized
from shared.schemas import DeadLetterReason
from shared.schemas.dead_letter import (
    SOURCE_FILE_HEADER,
    SOURCE_GENERATION_HEADER,
    SOURCE_HOST_HEADER,
    SOURCE_OFFSET_HEADER,
)
from tests.unit.producer.lines import COMBINED, FILE, chunk_of, parse

PARSER = ChunkParser(LogFormat.AUTO, "web-1")
LONG = COMBINED.replace(b"/a?b=c", b"/" + b"a" * 3000)
# A line, and what becomes of it where the topic takes 2000 bytes.
LINES = {COMBINED: "confirmed", b"no log line": "dead_lettered", b"": "blank", b" \t\r": "blank", LONG: "dead_lettered"}
MAX_VALUE_BYTES = 2_000


def settled(parsed: ParsedChunk, delivered: Delivered) -> ParsedChunk:
    """The chunk as the outbox leaves it."""
    return reject_oversized(delivered.remove_from(parsed), MAX_VALUE_BYTES)


def holds(tally: Tally) -> bool:
    return tally.read == tally.accounted and min(getattr(tally, name) for name in tally.__slots__) >= 0


def sums(ledger: Ledger) -> Account:
    total = Account()
    for file in ledger.files:
        total.add(file.account)
    total.add(ledger.others)
    return total


def check(ledger: Ledger) -> None:
    """Everything that must hold at every moment."""
    for account in (ledger.totals, ledger.others, *(file.account for file in ledger.files)):
        assert holds(account.bytes)
        assert holds(account.lines)
    assert sums(ledger) == ledger.totals


@dataclass(frozen=True)
class Read:
    """Lines of a file, some of which the topic has already, or one line of another kind."""

    file: int
    lines: Sequence[tuple[bytes, bool]]
    kind: ChunkKind = ChunkKind.LINES


@dataclass(frozen=True)
class Settle:
    """One of the chunks that are in flight, in any order."""

    which: int


@dataclass(frozen=True)
class Abandon:
    file: int | None
    lost_bytes: int


@dataclass(frozen=True)
class Keep:
    open_files: frozenset[int]


_FILES = st.integers(0, 4)
_LINE = st.tuples(st.sampled_from(list(LINES)), st.booleans())
_SINGLE = st.tuples(st.sampled_from([b"x" * 40, COMBINED]), st.booleans())
_STEPS = st.one_of(
    st.builds(Read, _FILES, st.lists(_LINE, min_size=1, max_size=8)),
    st.builds(
        Read,
        _FILES,
        st.lists(_SINGLE, min_size=1, max_size=1),
        st.sampled_from([ChunkKind.TOO_LONG, ChunkKind.UNTERMINATED]),
    ),
    st.builds(Settle, st.integers(0, 20)),
    st.builds(Abandon, st.none() | _FILES, st.integers(1, 1000)),
    st.builds(Keep, st.frozensets(_FILES)),
)


class Model:
    """Drives a ledger with real chunks and counts by itself what must come of them."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ends: Counter[int] = Counter()
        self.in_flight: list[ParsedChunk] = []
        self.fates: dict[int, list[tuple[str, int]]] = {}
        self.bytes: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def run(self, step: Read | Settle | Abandon | Keep) -> None:
        match step:
            case Read():
                self.read(step)
            case Settle(which) if self.in_flight:
                parsed = self.in_flight.pop(which % len(self.in_flight))
                self.ledger.settle(parsed)
                for fate, length in self.fates.pop(id(parsed)):
                    self.count(fate, length, 1)
            case Abandon(file, lost_bytes):
                self.ledger.abandon(None if file is None else f"g{file}", lost_bytes)
                self.bytes["abandoned"] += lost_bytes
            case Keep(open_files):
                self.ledger.keep({f"g{file}" for file in open_files})

    def count(self, fate: str, length: int, lines: int) -> None:
        self.bytes[fate] += length
        self.lines[fate] += lines

    def read(self, step: Read) -> None:
        newline = b"" if step.kind is ChunkKind.UNTERMINATED else b"\n"
        start = offset = self.ends[step.file]
        delivered = Delivered("web-1")
        fates = []
        for text, was_delivered in step.lines:
            fate = LINES[text] if step.kind is ChunkKind.LINES else "dead_lettered"
            if was_delivered and fate != "blank":
                headers = [
                    (SOURCE_HOST_HEADER, b"web-1"),
                    (SOURCE_FILE_HEADER, FILE.path.encode()),
                    (SOURCE_FILE_HEADER, FILE.path.encode()),
                    (SOURCE_GENERATION_HEADER, b"g%d" % step.file),
                    (SOURCE_OFFSET_HEADER, b"%d" % offset),
                ]
                delivered.note_dead_letter(headers)
                fate = "already_delivered"
            fates.append((fate, len(text) + len(newline)))
            offset += len(text) + len(newline)
        self.ends[step.file] = offset
        data = b"".join(text + newline for text, _was_delivered in step.lines)
        identity = replace(FILE, generation=f"g{step.file}")
        kept = data[:10] if step.kind is ChunkKind.TOO_LONG else data
        parsed = PARSER.parse(Chunk(identity, start, offset, kept, step.kind))
        self.ledger.read(parsed)
        parsed = settled(parsed, delivered)
        self.in_flight.append(parsed)
        self.fates[id(parsed)] = fates


@given(st.lists(_STEPS, max_size=40))
def test_the_equation_holds_at_every_moment(steps: list[Read | Settle | Abandon | Keep]) -> None:
    """Whatever is read, settled in any order, lost, closed and summed up; and each class is what it should be."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger_module, "MAX_FINISHED_FILES", 1)
        model = Model()
        for step in steps:
            model.run(step)
            check(model.ledger)
        totals = model.ledger.totals
    for name in ("confirmed", "dead_lettered", "blank", "already_delivered", "abandoned"):
        assert getattr(totals.bytes, name) == model.bytes[name], name
        assert getattr(totals.lines, name) == model.lines[name], name
    assert totals.bytes.read == sum(model.ends.values()) + model.bytes["abandoned"]


def found_at(*offsets: int) -> Delivered:
    """A topic that holds the lines that begin there."""
    delivered = Delivered("web-1")
    for offset in offsets:
        header = [
            (SOURCE_HOST_HEADER, b"web-1"),
            (SOURCE_FILE_HEADER, FILE.path.encode()),
            (SOURCE_GENERATION_HEADER, FILE.generation.encode()),
            (SOURCE_OFFSET_HEADER, b"%d" % offset),
        ]
        delivered.note_dead_letter(header)
    return delivered


def test_what_was_settled_in_three_sessions_counts_once() -> None:
    """A chunk is sent again by other sessions, which find first one of its lines in the topic, then two, then all."""
    parsed = parse(COMBINED, b"no log line", b"", COMBINED)
    second_line = len(COMBINED) + 1
    third_line = second_line + len(b"no log line") + 1
    once = settled(parsed, found_at(0))
    assert (once.delivered_count, once.delivered_bytes) == (1, second_line)
    twice = settled(once, found_at(0, second_line))
    assert (twice.delivered_count, twice.delivered_bytes) == (2, third_line)
    ledger = Ledger()
    ledger.read(parsed)
    ledger.settle(settled(twice, Delivered("web-1", [KnownFile(FILE, parsed.chunk.end)])))
    check(ledger)
    assert ledger.totals.lines == Tally(read=4, blank=1, already_delivered=3)
    assert ledger.totals.bytes.already_delivered == parsed.chunk.end - 1


def test_finished_files_are_summed_up_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, however many come and go; open ones and those with lines in flight stay."""
    monkeypatch.setattr(ledger_module, "MAX_FINISHED_FILES", 2)
    ledger = Ledger()
    for number in range(6):
        chunk = replace(chunk_of(COMBINED), file=replace(FILE, generation=f"g{number}"))
        parsed = PARSER.parse(chunk)
        ledger.read(parsed)
        if number != 1:
            ledger.settle(parsed)
    ledger.keep({"g0"})
    assert [file.generation for file in ledger.files] == ["g5", "g4", "g1", "g0"]
    assert ledger.other_count == 2
    assert ledger.others.lines == Tally(read=2, confirmed=2)
    check(ledger)


def test_a_file_begins_where_this_run_begins() -> None:
    """What an earlier run has settled is not in the ledger, and told by `began_at`."""
    ledger = Ledger()
    ledger.open(KnownFile(FILE, 70))
    ledger.read(PARSER.parse(chunk_of(COMBINED, start=70)))
    ledger.open(KnownFile(FILE, 500))
    file = ledger.find(FILE.generation)
    assert file is not None
    assert (file.began_at, file.end) == (70, 70 + len(COMBINED) + 1)
    ledger.abandon(FILE.generation, 33)
    assert file.end == 70 + len(COMBINED) + 1
    check(ledger)


def test_a_line_over_the_limit_is_all_dead_lettered() -> None:
    """Its excerpt is short, its bytes are not."""
    parsed = PARSER.parse(Chunk(FILE, 0, 5000, b"x" * 10, ChunkKind.TOO_LONG))
    assert parsed.rejects[0].reason is DeadLetterReason.LINE_TOO_LONG
    ledger = Ledger()
    ledger.read(parsed)
    assert ledger.totals.bytes == Tally(read=5000, in_flight=5000)
    ledger.settle(parsed)
    assert ledger.totals.bytes == Tally(read=5000, dead_lettered=5000)
