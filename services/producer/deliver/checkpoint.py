"""The checkpoint on disk: per file, the first byte that is not confirmed.

Written to a temporary file, synced, renamed, and the folder synced: after a crash there is the old one or the new one,
whole. It may be older than what is confirmed (then some lines are sent twice), never newer (then some would be lost).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from services.producer.chunk import FileIdentity, KnownFile, Seen, Tail
from shared.durable import appearing
from shared.errors import FatalError

VERSION: Literal[1] = 1
# A lock holds within one running kernel, containers included.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Tail(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    length: NonNegativeInt
    hash: str


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    size: NonNegativeInt
    modified_ns: int


class _File(BaseModel):
    """`tail` and `seen` are not in the checkpoints of earlier versions."""

    model_config = ConfigDict(frozen=True, strict=True)

    path: str
    device: NonNegativeInt
    inode: NonNegativeInt
    generation: str
    head_bytes: NonNegativeInt
    head_hash: str
    position: NonNegativeInt
    tail: _Tail | None = None
    seen: _Seen | None = None


class _Checkpoint(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    version: Literal[1]
    sequence: NonNegativeInt = 0
    patterns: dict[str, int | None] = {}
    tails: dict[str, tuple[NonNegativeInt, ...]] = {}
    files: tuple[_File, ...]
    checksum: str = ""  # of all the others

    def sum_up(self) -> str:
        """What the checksum should be."""
        return hashlib.blake2b(self.model_dump_json(exclude={"checksum"}).encode(), digest_size=8).hexdigest()


# By topic, one offset for each partition.
TopicOffsets = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """What a restart goes on from.

    `patterns` were followed, each with its folder's inode. Whatever is in a topic and not below the positions of
    `files` stands at or behind `tails`; nothing is known of a topic that is missing there. `sequence` grows with every
    checkpoint of one producer, wherever it is kept.
    """

    files: tuple[KnownFile, ...] = ()
    patterns: Mapping[str, int | None] = field(default_factory=dict)
    sequence: int = 0
    tails: TopicOffsets = field(default_factory=dict)


class CheckpointStore:
    """Reads and writes one checkpoint file. Has one writer: `lock` comes first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: BinaryIO | None = None

    @property
    def path(self) -> Path:
        return self._path

    def lock(self) -> str:
        """Keep every other producer from this checkpoint while this process lives.

        Returns a name of the lock that no other lock has, on no host: who finds it free knows that its last holder is
        dead. Raises FatalError when another producer has it, and OSError when the folder lets nobody lock (read-only,
        full): then nothing is known of others.
        """
        path = self._path.with_name(self._path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _open_lock(path)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FatalError(
                f"CHECKPOINT_FILE={self._path} is in use by another producer (process {_holder(path)}). Two producers "
                "on one checkpoint would send everything twice: stop that one, or give this one a file of its own."
            ) from error
        self._lock = lock
        with suppress(OSError):  # the name of the holder only serves the message above
            path.write_text(f"{os.getpid()} on {socket.gethostname()}")
        status = os.fstat(lock.fileno())
        return f"{BOOT_ID.read_text().strip()}/{status.st_dev}/{status.st_ino}"

    def load(self) -> Checkpoint | None:
        """The last one; None when there was none.

        Raises FatalError for a file that is no checkpoint: to start over silently would send everything again.
        """
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FatalError(f"CHECKPOINT_FILE={self._path} cannot be read: {error.strerror}") from error
        try:
            checkpoint = _Checkpoint.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged(error.errors(include_url=False)[0]["msg"]) from error
        if checkpoint.checksum and checkpoint.checksum != checkpoint.sum_up():
            raise self._damaged("its checksum is wrong")
        return Checkpoint(
            tuple(_known_file(file) for file in checkpoint.files),
            checkpoint.patterns,
            checkpoint.sequence,
            checkpoint.tails,
        )

    def _damaged(self, how: str) -> FatalError:
        return FatalError(
            f"CHECKPOINT_FILE={self._path} is damaged: {how}. Restore it, or move it away: with DELIVERY=exactly-once "
            "Kafka keeps it too; otherwise all files are read again."
        )

    def save(self, state: Checkpoint) -> None:
        """Replace the checkpoint. Blocks for the disk. Raises OSError; then the old checkpoint is untouched."""
        checkpoint = _Checkpoint(
            version=VERSION,
            sequence=state.sequence,
            patterns=dict(state.patterns),
            tails=dict(state.tails),
            files=tuple(_entry(file) for file in state.files),
        )
        checkpoint = checkpoint.model_copy(update={"checksum": checkpoint.sum_up()})
        temporary = self._path.with_name(self._path.name + ".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(temporary, self._path) as file:
            file.write(checkpoint.model_dump_json(indent=1).encode())


def encode_file(file: KnownFile) -> bytes:
    """One file of a checkpoint by itself, as JSON."""
    return _entry(file).model_dump_json().encode()


def decode_file(text: bytes) -> KnownFile:
    """The inverse of `encode_file`. Raises pydantic.ValidationError."""
    return _known_file(_File.model_validate_json(text))


def _entry(file: KnownFile) -> _File:
    identity = file.identity
    return _File(
        path=identity.path,
        device=identity.device,
        inode=identity.inode,
        generation=identity.generation,
        head_bytes=identity.head_bytes,
        head_hash=identity.head_hash,
        position=file.position,
        tail=_Tail(length=file.tail.length, hash=file.tail.hash) if file.tail else None,
        seen=_Seen(size=file.seen.size, modified_ns=file.seen.modified_ns) if file.seen else None,
    )


def _known_file(file: _File) -> KnownFile:
    identity = FileIdentity(file.path, file.device, file.inode, file.generation, file.head_bytes, file.head_hash)
    tail = Tail(file.tail.length, file.tail.hash) if file.tail else None
    seen = Seen(file.seen.size, file.seen.modified_ns) if file.seen else None
    return KnownFile(identity, file.position, tail, seen)


def _open_lock(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except OSError:
        return path.open("rb")  # a lock needs no right to write where the file is there already


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(errors="replace")[:200]
    except OSError:
        return "unknown"
