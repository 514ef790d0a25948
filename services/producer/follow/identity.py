"""Decisions about files: what names a file's content, and whether a file is one that is known.

An inode alone is not enough: it is used again after a deletion, and it stays when a file is truncated. The first bytes
alone are not enough: two sites' logs may begin alike. Both together are kept, and the hash covers only bytes that
were there before, so a file that has grown is still itself. What begins alike on one inode is told apart by the bytes
before the position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath

from services.producer.chunk import FileIdentity, Tail

HEAD_BYTES = 1_024
TAIL_BYTES = 1_024
# What a rotation puts between the old name and what it adds.
SEPARATORS = ".-_"


def hash_head(head: bytes) -> str:
    """A short fingerprint of a file's first bytes."""
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def identify(path: str, device: int, inode: int, head: bytes, taken: Collection[str] = ()) -> FileIdentity:
    """The identity of a file with these first bytes (at most HEAD_BYTES of them; at least its first line).

    The generation is a function of the inode and the first line; it does not change while the file grows, and does not
    depend on the machine that looks, nor on what else it has seen. Only a second content with the same inode and first
    line gets a number besides: `taken` are the generations that this inode had.
    """
    first_line = head.partition(b"\n")[0]
    name = generation = f"{inode:x}-{hash_head(first_line)}"
    number = 0
    while generation in taken:
        number += 1
        generation = f"{name}-{number}"
    return FileIdentity(path, device, inode, generation, len(head), hash_head(head))


def grown(identity: FileIdentity, head: bytes) -> FileIdentity:
    """The same file with a longer fingerprint."""
    if len(head) <= identity.head_bytes:
        return identity
    return FileIdentity(identity.path, identity.device, identity.inode, identity.generation, len(head), hash_head(head))


def begins_alike(known: FileIdentity, head: bytes) -> bool:
    """Whether a file with these first bytes (HEAD_BYTES of them, or the whole file) begins as the known one does."""
    return len(head) >= known.head_bytes and hash_head(head[: known.head_bytes]) == known.head_hash


def fingerprint(before: bytes) -> Tail:
    """Of the bytes before a position, at most TAIL_BYTES."""
    return Tail(len(before), hash_head(before))


def fits(tail: Tail | None, before: bytes) -> bool:
    """Whether these are the bytes (TAIL_BYTES, or all there are) before the position that the fingerprint is of."""
    if tail is None or tail.length == 0:
        return True
    return len(before) >= tail.length and hash_head(before[-tail.length :]) == tail.hash


def rotated_from(name: str, bases: Collection[str]) -> str | None:
    """Of which of these file names this is a rotated one, as access.log.1 of access.log; the longest of several."""
    for end in range(len(name) - 1, 0, -1):
        if name[end] in SEPARATORS and name[:end] in bases:
            return name[:end]
    return None


def pattern_directory(pattern: str) -> str:
    """The deepest folder of a glob pattern that has no wildcard: what to watch while nothing matches."""
    parts = PurePath(pattern).parts[:-1]
    for index, part in enumerate(parts):
        if any(character in part for character in "*?["):
            return str(PurePath(*parts[:index])) if index else "."
    return str(PurePath(*parts)) if parts else "."


def folder_inode(pattern: str) -> int | None:
    """The inode of the folder that a pattern starts from; None while there is none."""
    try:
        return Path(pattern_directory(pattern)).stat().st_ino
    except OSError:
        return None


def new_patterns(now: Mapping[str, int | None], before: Mapping[str, int | None]) -> set[str]:
    """The patterns that were not followed before: unknown ones, and those whose folder is another one now.

    A container sees the demo's logs and later the host's own under one path.
    """
    return {
        pattern
        for pattern, inode in now.items()
        if pattern not in before or (before[pattern] is not None and inode != before[pattern])
    }
