"""What every open file has in common: its place, how far it was read, and why it does not move."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

from services.producer.chunk import Chunk, ChunkKind, FileIdentity, KnownFile, Seen
from services.producer.follow.identity import HEAD_BYTES, TAIL_BYTES, begins_alike, fingerprint, grown, identify

# A system that allows more is not asked how many.
MAX_OPEN_FILES = 100_000
WAITS_FOR_NEWLINE = "waiting for a newline"
NOTHING_TO_READ = "nothing to read"


@dataclass(frozen=True)
class ReadLimits:
    """`chunk_bytes` are read at a time; longer lines come whole up to `max_line_bytes`, then only `excerpt_bytes`.

    No chunk of whole lines holds a line that is too long.
    """

    chunk_bytes: int
    max_line_bytes: int
    excerpt_bytes: int = 64 * 1024
    max_lines: int = 8_192

    @classmethod
    def for_lines(cls, max_line_bytes: int) -> ReadLimits:
        """Limits for this longest line. 1 MiB at a time: with 8 partitions, 256 KiB cost 20 % more CPU a line."""
        return cls(min(1024 * 1024, max_line_bytes + 1), max_line_bytes)

    def cut(self, data: bytes, start: int, end: int) -> int:
        """Where to cut the lines `[start, end)` so that a chunk of tiny ones stays a small number of records."""
        if data.count(b"\n", start, end) <= self.max_lines:
            return end
        cut = start
        for _line in range(self.max_lines):
            cut = data.index(b"\n", cut) + 1
        return cut


class OpenFile(ABC):
    """Reads one content forwards. `position` is the next byte to read; `path` is where it lies now, as far as known.

    Holding the file open keeps its inode from being used again, so within one process a file is its descriptor.
    """

    def __init__(self, descriptor: int, path: str, first_path: str, limits: ReadLimits) -> None:
        status = os.fstat(descriptor)
        self.descriptor = descriptor
        self.path = path
        self.first_path = first_path  # its name in records
        self.device, self.inode = status.st_dev, status.st_ino
        self.seen = Seen(status.st_size, status.st_mtime_ns)
        self.identity: FileIdentity | None = None
        self.position = 0
        self.earlier_generations: dict[str, None] = {}  # of its inode, the last ones
        self.expected_bytes = 0  # so many are known to have been in it; fewer means that some are lost
        self.is_relic = False  # a copy or a gzip of what was followed: it has no place of its own among the patterns
        self.told: Seen | None = None  # what was last told of its unread bytes
        self.retired_at: float | None = None  # since when no pattern finds it; it is read to its end and let go
        self.superseded = False  # it was rotated: what it holds is older than what the others hold
        self.active_at = 0.0  # when it last had something to read
        self.drained_size = -1  # its size when there was last nothing more to read in it
        self.blocked_reason: str | None = None  # why it does not move; None while it does
        self.blocked_since: float | None = None
        self._limits = limits
        self._before = b""  # the last bytes before the position

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of the content, as far as known."""

    @property
    @abstractmethod
    def has_unsearched_bytes(self) -> bool:
        """Whether a further call of `read_chunk` may find something."""

    @abstractmethod
    def read_chunk(self) -> Chunk | None:
        """The next whole lines, or None when this bounded step found none. Raises OSError."""

    @abstractmethod
    def read_unterminated(self) -> Chunk | None:
        """What is left behind the last newline, of a file that nobody writes to any more."""

    @abstractmethod
    def has_been_replaced(self) -> bool:
        """Whether the content is another one now. Raises OSError."""

    @abstractmethod
    def start_over(self) -> None:
        """After a replacement: read from the beginning, as a new generation."""

    def missing_bytes(self) -> int:
        """How many bytes behind the position are known to be lost, when nothing more comes."""
        return max(0, self.expected_bytes - self.position)

    @abstractmethod
    def head(self) -> bytes:
        """The first bytes of the content, HEAD_BYTES or all there are. Raises OSError."""

    @property
    def is_looked_for(self) -> bool:
        """Whether it may turn out not to hold what it was opened for."""
        return False

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def known(self) -> KnownFile | None:
        """What to remember of it, with the position that it was read to; None before it has a name."""
        if self.identity is None:
            return None
        return KnownFile(self.identity, self.position, fingerprint(self._before), self.seen)

    def close(self) -> None:
        os.close(self.descriptor)

    def identify_early(self) -> bool:
        """Name the content as soon as its first line is whole, before anything is read; returns whether it just was.

        A file that is known can be found again after it was rotated, even if nothing of it was confirmed yet.
        """
        if self.identity is not None:
            return False
        head = self.head()
        if b"\n" not in head and len(head) < HEAD_BYTES:
            return False
        self.identity = identify(self.first_path, self.device, self.inode, head, self.earlier_generations)
        return True

    def note_moved(self, now: float) -> None:
        """It gave something."""
        self.active_at = now
        self.blocked_reason = self.blocked_since = None

    def note_blocked(self, reason: str, now: float) -> None:
        """It gave nothing, because of this. `now` counts when the reason is another one than before."""
        if reason != self.blocked_reason:
            self.blocked_reason, self.blocked_since = reason, now

    def _chunk(self, start: int, data: bytes, kind: ChunkKind) -> Chunk:
        """A chunk from `start` to the position, which is behind it already, as are the bytes before it."""
        tail = fingerprint(self._before)
        self.seen = Seen(max(self.seen.size, self.position), self.seen.modified_ns)
        return Chunk(self._identify(start, data), start, self.position, data, kind, tail, self.seen)

    def _identify(self, start: int, data: bytes) -> FileIdentity:
        """The identity of the content that has this data at `start`."""
        if self.identity is None:
            head = data[:HEAD_BYTES] if start == 0 and data else self.head()
            self.identity = identify(self.first_path, self.device, self.inode, head, self.earlier_generations)
        elif self.identity.head_bytes < HEAD_BYTES:
            head = self.head()
            known = head[start : start + len(data)]
            # It may have been truncated since the data was read: the head is then another content's.
            if begins_alike(self.identity, head) and data.startswith(known):
                self.identity = grown(self.identity, head)
        return self.identity

    def _remember(self, data: bytes) -> None:
        """These bytes come right after those that are remembered."""
        self._before = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self._before + data)[-TAIL_BYTES:]
