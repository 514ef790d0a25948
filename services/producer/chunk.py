"""What files, parser and delivery tell each other: whole lines with their place, and how far a file is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class ChunkKind(Enum):
    """What the bytes of a chunk are."""

    LINES = auto()  # whole lines, each with its newline
    TOO_LONG = auto()  # the first bytes of one line that is over the limit
    UNTERMINATED = auto()  # the end of a file that nobody writes to any more, without a newline


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """How a file is known again after a restart: inode, and the hash of its first `head_bytes` bytes.

    `generation` names the content for good: it is in every record. `path` is where it was first followed.
    """

    path: str
    device: int
    inode: int
    generation: str
    head_bytes: int
    head_hash: str


# More files than a site has; what bounds the memory and the checkpoint.
MAX_REMEMBERED_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Tail:
    """A fingerprint of the `length` bytes just before a position: tells contents apart that begin alike."""

    length: int
    hash: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A file when it was last looked at: its bytes, and when it was modified, in nanoseconds since 1970."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file, and the first byte of it that is not confirmed: what a restart goes on from.

    `tail` and `seen` are None where nothing is known of them, as in checkpoints of the first form.
    """

    identity: FileIdentity
    position: int
    tail: Tail | None = None
    seen: Seen | None = None

    @property
    def unread_bytes(self) -> int:
        """How many bytes behind the position are known to have been there."""
        return max(0, self.seen.size - self.position) if self.seen else 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes `[start, end)` of a file. `data` is all of them, or a prefix where `kind` is TOO_LONG.

    `tail` is the fingerprint at `end`, `seen` the file when it was read.
    """

    file: FileIdentity
    start: int
    end: int
    data: bytes
    kind: ChunkKind = ChunkKind.LINES
    tail: Tail | None = None
    seen: Seen | None = None


def line_bytes(chunk: Chunk, offset: int) -> int:
    """How long the line that begins at this offset of the file is, with its newline if it has one."""
    if chunk.kind is not ChunkKind.LINES:
        return chunk.end - chunk.start
    start = offset - chunk.start
    return chunk.data.index(b"\n", start) + 1 - start
