"""What was read of each file, and what became of it, in bytes and in lines. Pure.

At every moment, for each file and in all:

    read = confirmed + dead-lettered + skipped + in flight + abandoned

The bytes of a line are its own with its newline. Skipped are blank lines, and lines that the topic was found to hold
already. Abandoned are bytes that are known to have been in a file and were gone before they were read: they count as
read too, and nobody knows how many lines they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from services.producer.chunk import ChunkKind, KnownFile
from services.producer.parse import ParsedChunk

# Files that are closed and settled are told of until so many others are.
MAX_FINISHED_FILES = 100


@dataclass(slots=True)
class Tally:
    """Bytes, or lines, by what became of them."""

    read: int = 0
    confirmed: int = 0
    dead_lettered: int = 0
    blank: int = 0
    already_delivered: int = 0
    in_flight: int = 0
    abandoned: int = 0

    @property
    def skipped(self) -> int:
        return self.blank + self.already_delivered

    @property
    def accounted(self) -> int:
        """The right side of the equation."""
        return self.confirmed + self.dead_lettered + self.skipped + self.in_flight + self.abandoned

    def begin(self, count: int) -> None:
        """So much more was read."""
        self.read += count
        self.in_flight += count

    def settle(self, fate: Fate) -> None:
        """What was in flight has come to this."""
        self.in_flight -= fate.total
        self.confirmed += fate.confirmed
        self.dead_lettered += fate.dead_lettered
        self.blank += fate.blank
        self.already_delivered += fate.already_delivered

    def add(self, other: Tally) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Fate:
    """Bytes, or lines, of a chunk by what becomes of them. Each belongs to exactly one."""

    confirmed: int
    dead_lettered: int
    blank: int
    already_delivered: int

    @property
    def skipped(self) -> int:
        return self.blank + self.already_delivered

    @property
    def total(self) -> int:
        return self.confirmed + self.dead_lettered + self.skipped


def fate_in_lines(parsed: ParsedChunk) -> Fate:
    """What becomes of the lines of a chunk when it is confirmed."""
    return Fate(len(parsed.values), len(parsed.rejects), parsed.blank_line_count, parsed.delivered_count)


def fate_in_bytes(parsed: ParsedChunk) -> Fate:
    """The same of its bytes."""
    chunk = parsed.chunk
    newline_bytes = 0 if chunk.kind is ChunkKind.UNTERMINATED else 1
    rejected = sum(reject.length + newline_bytes for reject in parsed.rejects)
    others = rejected + parsed.blank_bytes + parsed.delivered_bytes
    return Fate(chunk.end - chunk.start - others, rejected, parsed.blank_bytes, parsed.delivered_bytes)


@dataclass(slots=True)
class Account:
    """The two sides of the equation, in both units. Lines have no abandoned ones: they were never seen."""

    bytes: Tally = field(default_factory=Tally)
    lines: Tally = field(default_factory=Tally)

    def add(self, other: Account) -> None:
        self.bytes.add(other.bytes)
        self.lines.add(other.lines)


@dataclass(slots=True)
class FileAccount:
    """One generation of a file. What lies before `began_at` was settled, or passed over, before this run."""

    path: str
    generation: str
    began_at: int
    account: Account = field(default_factory=Account)

    @property
    def end(self) -> int:
        """The first byte of the file that was not read."""
        return self.began_at + self.account.bytes.read - self.account.bytes.abandoned


class Ledger:
    """Told of every chunk when it is read and when it is settled, and of every loss.

    Keeps open files, those with lines in flight and the last MAX_FINISHED_FILES others; the rest is summed up in
    `others`, so that `totals` is the sum of all of it.
    """

    def __init__(self) -> None:
        self._files: dict[str, FileAccount] = {}  # the least recently read first
        self.others = Account()
        self.other_count = 0
        self.totals = Account()

    @property
    def files(self) -> Iterator[FileAccount]:
        """Most recently read first."""
        return reversed(self._files.values())

    def find(self, generation: str) -> FileAccount | None:
        return self._files.get(generation)

    def open(self, file: KnownFile) -> None:
        """A file is read from this position on."""
        if file.identity.generation not in self._files:
            self._add(file.identity.path, file.identity.generation, file.position)

    def read(self, parsed: ParsedChunk) -> None:
        """A chunk was read; `settle` comes later, once, maybe not in order."""
        chunk = parsed.chunk
        file = self._files.pop(chunk.file.generation, None)
        if file is None:
            file = self._add(chunk.file.path, chunk.file.generation, chunk.start)
        self._files[chunk.file.generation] = file
        lines = fate_in_lines(parsed).total
        for account in (file.account, self.totals):
            account.bytes.begin(chunk.end - chunk.start)
            account.lines.begin(lines)

    def settle(self, parsed: ParsedChunk) -> None:
        """Every line of the chunk is confirmed, set aside or skipped."""
        in_bytes, in_lines = fate_in_bytes(parsed), fate_in_lines(parsed)
        for account in (self._files[parsed.chunk.file.generation].account, self.totals):
            account.bytes.settle(in_bytes)
            account.lines.settle(in_lines)

    def abandon(self, generation: str | None, lost_bytes: int) -> None:
        """So many bytes of a file are gone unread; of a file that has no name yet, where it is None."""
        file = self._files.get(generation) if generation is not None else None
        for account in (file.account if file else self.others, self.totals):
            account.bytes.read += lost_bytes
            account.bytes.abandoned += lost_bytes

    def keep(self, open_generations: Collection[str]) -> None:
        """These files are open. Of the closed and settled ones, all but the last are summed up."""
        finished = [
            generation
            for generation, file in self._files.items()
            if generation not in open_generations and not file.account.bytes.in_flight
        ]
        for generation in finished[: max(0, len(finished) - MAX_FINISHED_FILES)]:
            self.others.add(self._files.pop(generation).account)
            self.other_count += 1

    def _add(self, path: str, generation: str, began_at: int) -> FileAccount:
        file = self._files[generation] = FileAccount(path, generation, began_at)
        return file
