"""The checkpoint on disk: per file, the first byte that is not confirmed.

Written to a temporary file, synced, renamed, and the folder synced: after a crash there is the old one or the new one,
whole. It may be older than what is confirmed (then some lines are sent twice), never newer (then some would be lost).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from services.producer.chunk import FileIdentity, KnownFile
from shared.errors import FatalError

VERSION: Literal[1] = 1


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    path: str
    device: NonNegativeInt
    inode: NonNegativeInt
    generation: str
    head_bytes: NonNegativeInt
    head_hash: str
    position: NonNegativeInt


class _Checkpoint(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    version: Literal[1]
    patterns: dict[str, int | None] = {}
    files: tuple[_File, ...]


@dataclass(frozen=True)
class LastRun:
    """What the checkpoint tells: the files, and the patterns that were followed, each with its folder's inode."""

    files: tuple[KnownFile, ...]
    patterns: Mapping[str, int | None]


class CheckpointStore:
    """Reads and writes one checkpoint file. Has one writer. `patterns` are those of this run."""

    def __init__(self, path: Path, patterns: Mapping[str, int | None]) -> None:
        self._path = path
        self._patterns = dict(patterns)

    def load(self) -> LastRun | None:
        """The last run; None when there was none.

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
            raise FatalError(
                f"CHECKPOINT_FILE={self._path} is damaged: {error.errors(include_url=False)[0]['msg']}. "
                "Restore it, or move it away to read all files again from START_AT."
            ) from error
        return LastRun(tuple(_known_file(file) for file in checkpoint.files), checkpoint.patterns)

    def save(self, files: Iterable[KnownFile]) -> None:
        """Replace the checkpoint. Blocks for the disk. Raises OSError; then the old checkpoint is untouched."""
        checkpoint = _Checkpoint(
            version=VERSION,
            patterns=self._patterns,
            files=tuple(
                _File(
                    path=file.identity.path,
                    device=file.identity.device,
                    inode=file.identity.inode,
                    generation=file.identity.generation,
                    head_bytes=file.identity.head_bytes,
                    head_hash=file.identity.head_hash,
                    position=file.position,
                )
                for file in files
            ),
        )
        temporary = self._path.with_name(self._path.name + ".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(checkpoint.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        _sync_folder(self._path.parent)


def _known_file(file: _File) -> KnownFile:
    identity = FileIdentity(file.path, file.device, file.inode, file.generation, file.head_bytes, file.head_hash)
    return KnownFile(identity, file.position)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
