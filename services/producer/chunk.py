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
class KnownFile:
    """A file, and the first byte of it that is not confirmed: what a restart goes on from."""

    identity: FileIdentity
    position: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes `[start, end)` of a file. `data` is all of them, or a prefix where `kind` is TOO_LONG."""

    file: FileIdentity
    start: int
    end: int
    data: bytes
    kind: ChunkKind = ChunkKind.LINES
