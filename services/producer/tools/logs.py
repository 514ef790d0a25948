"""The followed files that still exist, found and read by the producer's own rules."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.producer.chunk import Chunk, ChunkKind, FileIdentity, KnownFile
from services.producer.deliver.checkpoint import Checkpoint
from services.producer.follow import FileEvent, Follower
from services.producer.follow.descriptors import allow_many_files
from services.producer.follow.gzipped_file import GzippedFile
from services.producer.follow.open_file import OpenFile, ReadLimits
from services.producer.follow.tailed_file import TailedFile
from services.producer.settings import ProducerSettings


@dataclass(frozen=True)
class Log:
    """A file as it is now. Below `confirmed` every line is confirmed; None when the producer does not know the file."""

    path: str
    identity: FileIdentity
    size: int
    confirmed: int | None

    @property
    def end(self) -> int:
        """The end of what is both there and confirmed."""
        return min(self.size, self.confirmed or 0)


@dataclass(frozen=True)
class UnseenLog:
    """A file that the producer confirmed bytes of and that cannot be looked at from here; `because` is a sentence."""

    path: str
    generation: str
    confirmed: int
    because: str


class Logs:
    """Looks once, when it is made; holds the files open until `close`."""

    def __init__(self, settings: ProducerSettings, last_run: Checkpoint) -> None:
        allow_many_files()
        self._limits = ReadLimits.for_lines(settings.max_line_bytes)
        self._known = last_run.files
        positions = {known.identity.generation: known.position for known in last_run.files}
        self._follower = Follower(
            settings.log_files,
            known=[replace(known, position=0, tail=None, seen=None) for known in last_run.files],
            start_at_end=(),
            limits=self._limits,
            retire_after_s=math.inf,
        )
        self._follower.scan(0.0)
        self._files = {file.identity.generation: file for file in self._follower.files if file.identity is not None}
        self.found = tuple(
            Log(file.path, file.identity, file.size, positions.get(file.identity.generation))
            for file in sorted(self._files.values(), key=lambda file: file.path)
            if file.identity is not None
        )

    def unseen(self) -> Sequence[UnseenLog]:
        """Every file with confirmed bytes that was not found, by path."""
        return [
            UnseenLog(
                known.identity.path,
                known.identity.generation,
                known.position,
                self._follower.unreadable.get(known.identity.path) or _why_unseen(known.identity),
            )
            for known in sorted(self._known, key=lambda known: known.identity.path)
            if known.position and known.identity.generation not in self._files
        ]

    def warnings(self) -> list[FileEvent]:
        """What was in the way of finding files."""
        return [event for event in self._follower.take_events() if event.level == "warning"]

    def chunks(self, log: Log, start: int = 0, end: int | None = None) -> Iterator[Chunk]:
        """The confirmed part of a file as the producer reads it, from and up to bytes that begin a line.

        Raises OSError.
        """
        end = log.end if end is None else end
        opened = self._files[log.identity.generation]
        file = self._reader(opened, KnownFile(log.identity, start))
        try:
            while file.position < end:
                chunk = file.read_chunk()
                if chunk is None and file.has_unsearched_bytes:
                    continue
                if chunk is None:
                    chunk = file.read_unterminated()
                if chunk is None:
                    return
                yield _cut(chunk, end)
        finally:
            file.close()

    def _reader(self, opened: OpenFile, known: KnownFile) -> OpenFile:
        """The same content once more, from a position on."""
        place = (os.dup(opened.descriptor), opened.path, opened.first_path, self._limits)
        if isinstance(opened, GzippedFile):
            return GzippedFile(*place, known)
        file = TailedFile(*place)
        file.go_on_from(known)
        return file

    def close(self) -> None:
        self._follower.close()


def _why_unseen(identity: FileIdentity) -> str:
    try:
        inode = Path(identity.path).stat().st_ino
    except OSError as error:
        return f"it is not where it was first followed: {error.strerror}"
    if inode == identity.inode:
        return "LOG_FILES does not follow it, or its content was replaced"
    return "another file has its path now, and it was not found under another one"


def _cut(chunk: Chunk, end: int) -> Chunk:
    """The chunk up to `end`, which is the end of a line in it or lies behind it."""
    if chunk.end <= end or chunk.kind is not ChunkKind.LINES:
        return chunk
    return replace(chunk, end=end, data=chunk.data[: end - chunk.start])
