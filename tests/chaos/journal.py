"""What was written to which file, noted after each write has returned. The auditor's only source of truth.

A *content* is what a file holds between two truncations: a rename keeps it, truncation and re-creation begin another.
Offsets count from the beginning of the content.
"""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from tests.chaos.lines import numbered_line


class Expected(Enum):
    """What has to come of a line that is not a numbered one."""

    RECORD = auto()
    DEAD_LETTER = auto()
    EITHER = auto()  # a record or a dead letter
    NOTHING_OR_ONE = auto()  # no promise is made of it: a blank line, a line without its newline


@dataclass(frozen=True)
class Write:
    """One write: bytes [start, end) of a content hold the lines `first` … `last`."""

    content: int
    start: int
    end: int
    sha256: bytes
    first: int
    last: int
    at_s: float  # time.monotonic() after the write returned


@dataclass(frozen=True)
class Content:
    """A file's name and inode when the content began."""

    name: str
    inode: int


@dataclass(frozen=True)
class OddLine:
    """A line of its own making, without its newline."""

    raw: bytes
    expected: Expected


class Journal:
    """Filled by the writers of one run, from any thread; read when they are done."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.contents: list[Content] = []
        self.writes: list[Write] = []
        self.odd: dict[int, OddLine] = {}
        self._content_of = array("H")
        self._starts = array("q")
        self._lengths = array("l")
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Lines that were written; their numbers are 0 … len - 1."""
        return len(self._starts)

    def begin_content(self, name: str, inode: int) -> int:
        with self._lock:
            self.contents.append(Content(name, inode))
            return len(self.contents) - 1

    def lock(self) -> threading.RLock:
        """Held from taking numbers to noting them, so that they are dense and each file has them in order."""
        return self._lock

    def note_lines(self, content: int, start: int, data: bytes, lengths: list[int]) -> None:
        """Whole lines (their lengths with the newline) were written at `start`."""
        first = len(self)
        for length in lengths:
            self._content_of.append(content)
            self._starts.append(start)
            self._lengths.append(length - 1)
            start += length
        digest = hashlib.sha256(data).digest()
        self.writes.append(Write(content, start - len(data), start, digest, first, len(self) - 1, time.monotonic()))

    def content_of(self, number: int) -> int:
        return self._content_of[number]

    def place_of(self, number: int) -> tuple[int, int]:
        """Offset of the line's first byte in its content, and its length without the newline."""
        return self._starts[number], self._lengths[number]

    def end_of(self, number: int) -> int:
        return self._starts[number] + self._lengths[number] + 1

    def written(self) -> Iterator[tuple[int, float]]:
        """The number of each line, and when it was written."""
        for write in self.writes:
            for number in range(write.first, write.last + 1):
                yield number, write.at_s

    def changed_writes(self) -> list[Write]:
        """Writes whose lines, made again, are not what was written: then the auditor would expect the wrong thing."""
        return [write for write in self.writes if hashlib.sha256(self._made_again(write)).digest() != write.sha256]

    def _made_again(self, write: Write) -> bytes:
        return b"".join(
            self.odd[number].raw + b"\n" if number in self.odd else numbered_line(self.run, number)
            for number in range(write.first, write.last + 1)
        )
