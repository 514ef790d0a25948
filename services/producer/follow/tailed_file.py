"""One open file of plain text. Whole lines come out; a line without its newline waits."""

from __future__ import annotations

import os

from services.producer.chunk import Chunk, ChunkKind, KnownFile, Seen
from services.producer.follow.identity import HEAD_BYTES, TAIL_BYTES, begins_alike, fits
from services.producer.follow.open_file import OpenFile, ReadLimits

# Of one inode; what a file that is truncated again and again costs at most.
MAX_EARLIER_GENERATIONS = 1_000


class TailedFile(OpenFile):
    """A file that may grow, and may be truncated."""

    def __init__(self, descriptor: int, path: str, first_path: str, limits: ReadLimits) -> None:
        super().__init__(descriptor, path, first_path, limits)
        self._searched = 0  # a line under way has no newline before this byte
        self._other_bytes_before = False
        self._nameless_head = self.head()  # what was seen of a first line that is not whole yet

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    @property
    def has_unsearched_bytes(self) -> bool:
        return self._searched > self.position and self.size > self._searched

    def go_on_from(self, known: KnownFile) -> None:
        """It holds this content: read on at its position."""
        self.identity = known.identity
        self._go_to(known.position)

    def skip_to_last_line(self) -> None:
        """Go to the end, or to the beginning of the line that is being written there."""
        end = self.size
        start = max(0, end - self._limits.max_line_bytes)
        tail = os.pread(self.descriptor, end - start, start)
        self._go_to(start + tail.rfind(b"\n") + 1)
        if self.position:
            self._identify(self.position, b"")

    def has_been_replaced(self) -> bool:
        """Whether the content is another one: shorter than what was looked at, or other bytes where some are known.

        `seen` is then what was seen before the replacement.
        """
        status = os.fstat(self.descriptor)
        if self._other_bytes_before or status.st_size < self._searched:
            return True
        if self._begins_otherwise():
            return True
        if self._read_before(self.position) != self._before:
            return True
        self.seen = Seen(status.st_size, status.st_mtime_ns)
        return False

    def _begins_otherwise(self) -> bool:
        head = self.head()
        if self.identity is not None:
            return not begins_alike(self.identity, head)
        before, self._nameless_head = self._nameless_head, head
        return not head.startswith(before)

    def start_over(self) -> None:
        if self.identity is not None:
            self.earlier_generations[self.identity.generation] = None
            if len(self.earlier_generations) > MAX_EARLIER_GENERATIONS:
                del self.earlier_generations[next(iter(self.earlier_generations))]
        self.identity = None
        self._nameless_head = b""
        self._other_bytes_before = False
        self.position = self._searched = 0
        self._before = b""
        status = os.fstat(self.descriptor)
        self.seen = Seen(status.st_size, status.st_mtime_ns)

    def read_chunk(self) -> Chunk | None:
        """The next whole lines. None when there is none yet, or when other bytes are before them than there were."""
        known_bytes = len(self._before)
        data = os.pread(self.descriptor, known_bytes + self._limits.chunk_bytes, self.position - known_bytes)
        if not data.startswith(self._before):
            self._other_bytes_before = True
            return None
        end = data.rfind(b"\n", known_bytes) + 1
        if end:
            return self._take_lines(data[known_bytes : self._limits.cut(data, known_bytes, end)])
        if len(data) - known_bytes < self._limits.chunk_bytes:
            return None
        return self._read_long_line()

    def read_unterminated(self) -> Chunk | None:
        data = os.pread(self.descriptor, self._limits.excerpt_bytes, self.position)
        return (
            self._take_excerpt(data, max(len(data), self.size - self.position), ChunkKind.UNTERMINATED)
            if data
            else None
        )

    def _read_long_line(self) -> Chunk | None:
        """A line of more than a chunk. One bounded step a call; the search goes on where it stopped."""
        limit = self._limits.max_line_bytes
        self._searched = max(self._searched, self.position + self._limits.chunk_bytes)
        data = os.pread(self.descriptor, max(limit, self._limits.chunk_bytes), self._searched)
        newline = data.find(b"\n")
        if newline < 0:
            self._searched += len(data)
            return None
        length = self._searched + newline + 1 - self.position
        if length - 1 > limit:
            excerpt = os.pread(self.descriptor, self._limits.excerpt_bytes, self.position)
            return self._take_excerpt(excerpt, length, ChunkKind.TOO_LONG)
        line = os.pread(self.descriptor, length, self.position)
        return self._take_lines(line) if line.endswith(b"\n") else None  # else it was truncated at this moment

    def _take_lines(self, data: bytes) -> Chunk:
        start = self.position
        self.position = self._searched = start + len(data)
        self._remember(data)
        return self._chunk(start, data, ChunkKind.LINES)

    def _take_excerpt(self, data: bytes, length: int, kind: ChunkKind) -> Chunk:
        start = self.position
        self._go_to(start + length)
        return self._chunk(start, data, kind)

    def _go_to(self, position: int) -> None:
        self.position = self._searched = position
        self._before = self._read_before(position)

    def _read_before(self, position: int) -> bytes:
        return read_before(self.descriptor, position)

    def head(self) -> bytes:
        return os.pread(self.descriptor, HEAD_BYTES, 0)


def read_before(descriptor: int, position: int) -> bytes:
    """The bytes that the fingerprint at a position is of. Raises OSError."""
    start = max(0, position - TAIL_BYTES)
    return os.pread(descriptor, position - start, start)


def holds(descriptor: int, known: KnownFile) -> bool:
    """Whether an open file has at the known position what was there; not whether it begins alike. Raises OSError."""
    before = read_before(descriptor, known.position)
    return len(before) == min(known.position, TAIL_BYTES) and fits(known.tail, before)
