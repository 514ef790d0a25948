"""One open file and how far it was read. Whole lines come out; a line without its newline waits.

Holding the file open keeps its inode from being used again, so within one process a file is its descriptor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from services.producer.chunk import Chunk, ChunkKind, FileIdentity
from services.producer.follow.identity import HEAD_BYTES, grown, identify, is_same_content, truncations_of


@dataclass(frozen=True)
class ReadLimits:
    """`chunk_bytes` are read at a time; longer lines come whole up to `max_line_bytes`, then only `excerpt_bytes`.

    A chunk is at most one byte longer than the longest line, so no chunk of whole lines holds one that is too long.
    """

    chunk_bytes: int
    max_line_bytes: int
    excerpt_bytes: int = 64 * 1024
    max_lines: int = 8_192

    @classmethod
    def for_lines(cls, max_line_bytes: int) -> ReadLimits:
        """Limits for this longest line. 1 MiB at a time: with 8 partitions, 256 KiB cost 20 % more CPU a line."""
        return cls(min(1024 * 1024, max_line_bytes + 1), max_line_bytes)


class TailedFile:
    """Reads one file forwards. `position` is the next byte to read; `path` is where it lies now, as far as known."""

    def __init__(
        self,
        descriptor: int,
        path: str,
        limits: ReadLimits,
        identity: FileIdentity | None,
        position: int,
        truncations: int = 0,
    ) -> None:
        status = os.fstat(descriptor)
        self.descriptor = descriptor
        self.path = path
        self.first_path = identity.path if identity else path
        self.device, self.inode = status.st_dev, status.st_ino
        self.identity = identity
        self.position = position
        self.retired_at: float | None = None  # since when no pattern finds it; it is read to its end and let go
        self.superseded = False  # it was rotated: what it holds is older than what the others hold
        self.active_at = 0.0  # when it last had something to read
        self.drained_size = -1  # its size when there was last nothing more to read in it
        self._limits = limits
        self._truncations = truncations_of(identity) if identity else truncations
        self._searched = position  # a line under way has no newline before this byte

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    @property
    def has_unsearched_bytes(self) -> bool:
        """Whether a further call of `read_chunk` may find the end of a long line."""
        return self._searched > self.position and self.size > self._searched

    def close(self) -> None:
        os.close(self.descriptor)

    def identify_early(self) -> bool:
        """Name the content as soon as its first line is whole, before anything is read; returns whether it just was.

        A file that is known can be found again after it was rotated, even if nothing of it was confirmed yet.
        """
        if self.identity is not None:
            return False
        head = self._head()
        if b"\n" not in head and len(head) < HEAD_BYTES:
            return False
        self.identity = identify(self.first_path, self.device, self.inode, head, self._truncations)
        return True

    def has_been_replaced(self) -> bool:
        """Whether the content is another one now: shorter than what was looked at, or with other first bytes."""
        if self.size < self._searched:
            return True
        return self.identity is not None and not is_same_content(self.identity, self.inode, self._head())

    def start_over(self) -> None:
        """After a truncation: read from the beginning, as a new generation."""
        self._truncations += 1
        self.identity = None
        self.position = self._searched = 0

    def skip_to_last_line(self) -> None:
        """Go to the end, or to the beginning of the line that is being written there."""
        end = self.size
        start = max(0, end - self._limits.max_line_bytes)
        tail = os.pread(self.descriptor, end - start, start)
        self.position = self._searched = start + tail.rfind(b"\n") + 1
        if self.position:
            self._identify(b"")

    def read_chunk(self) -> Chunk | None:
        """The next whole lines, or None when there is none yet. Raises OSError."""
        data = os.pread(self.descriptor, self._limits.chunk_bytes, self.position)
        end = data.rfind(b"\n") + 1
        if end:
            return self._take(data, self._bounded_cut(data, end), ChunkKind.LINES)
        if len(data) < self._limits.chunk_bytes:
            return None
        return self._read_long_line()

    def read_unterminated(self) -> Chunk | None:
        """What is left behind the last newline, of a file that nobody writes to any more."""
        data = os.pread(self.descriptor, self._limits.excerpt_bytes, self.position)
        return self._take(data, self.size - self.position, ChunkKind.UNTERMINATED) if data else None

    def _bounded_cut(self, data: bytes, end: int) -> int:
        """Where to cut so that a chunk of tiny lines stays a small number of records."""
        if data.count(b"\n", 0, end) <= self._limits.max_lines:
            return end
        cut = 0
        for _line in range(self._limits.max_lines):
            cut = data.index(b"\n", cut) + 1
        return cut

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
        kept_bytes = length if length - 1 <= limit else self._limits.excerpt_bytes
        kind = ChunkKind.LINES if length - 1 <= limit else ChunkKind.TOO_LONG
        return self._take(os.pread(self.descriptor, kept_bytes, self.position), length, kind)

    def _take(self, data: bytes, length: int, kind: ChunkKind) -> Chunk:
        start = self.position
        self.position = self._searched = start + length
        return Chunk(self._identify(data if start == 0 else b""), start, self.position, data[:length], kind)

    def _identify(self, data_from_start: bytes) -> FileIdentity:
        if self.identity is None:
            head = data_from_start[:HEAD_BYTES] or self._head()
            self.identity = identify(self.first_path, self.device, self.inode, head, self._truncations)
        elif self.identity.head_bytes < HEAD_BYTES:
            self.identity = grown(self.identity, self._head())
        return self.identity

    def _head(self) -> bytes:
        return os.pread(self.descriptor, HEAD_BYTES, 0)
