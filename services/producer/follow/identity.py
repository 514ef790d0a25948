"""Decisions about files: what names a file's content, and whether a file is one that is known.

An inode alone is not enough: it is used again after a deletion, and it stays when a file is truncated. The first bytes
alone are not enough: two sites' logs may begin alike. Both together are kept, and the hash covers only bytes that
were there before, so a file that has grown is still itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from services.producer.chunk import FileIdentity

HEAD_BYTES = 1_024


def hash_head(head: bytes) -> str:
    """A short fingerprint of a file's first bytes."""
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def identify(path: str, device: int, inode: int, head: bytes, truncations: int = 0) -> FileIdentity:
    """The identity of a file with these first bytes (at most HEAD_BYTES of them; at least its first line).

    The generation is a function of the inode, the first line and how often the file was seen truncated; it does not
    change while the file grows, and it does not depend on the machine that looks.
    """
    first_line = head.partition(b"\n")[0]
    generation = f"{inode:x}-{hash_head(first_line)}"
    if truncations:
        generation += f"-{truncations}"
    return FileIdentity(path, device, inode, generation, len(head), hash_head(head))


def grown(identity: FileIdentity, head: bytes) -> FileIdentity:
    """The same file with a longer fingerprint."""
    if len(head) <= identity.head_bytes:
        return identity
    return FileIdentity(identity.path, identity.device, identity.inode, identity.generation, len(head), hash_head(head))


def is_same_content(known: FileIdentity, inode: int, head: bytes) -> bool:
    """Whether a file with this inode and these first bytes (HEAD_BYTES of them, or the whole file) is the known one."""
    return (
        inode == known.inode
        and len(head) >= known.head_bytes
        and hash_head(head[: known.head_bytes]) == known.head_hash
    )


def truncations_of(identity: FileIdentity) -> int:
    """How often the file had been seen truncated when it was identified."""
    parts = identity.generation.split("-")
    return int(parts[2]) if len(parts) > 2 else 0


def find_known(known: Iterable[FileIdentity], inode: int, head: bytes) -> FileIdentity | None:
    """The known file that this one is, if any; the last of several, which is the one that was read last."""
    return next((identity for identity in reversed(list(known)) if is_same_content(identity, inode, head)), None)


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
