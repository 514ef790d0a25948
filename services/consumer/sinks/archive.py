r"""Keeps every record in files: one JSON value a line, one partition a folder, one range of offsets a file.

    ARCHIVE_DIR/nginx_logs/partition=3/00000000000000000042-00000000000000000541.ndjson

A file appears whole or not at all (written under another name, synced, renamed, its folder synced). The names are the
memory of what is archived: whoever gets a partition reads them and passes over the offsets that are there, so a record
that Kafka delivers twice stands in the files once. A range may hold fewer lines than offsets: rejects are not archived.
What is passed over is compared with the file first: a topic that was made anew counts its offsets from 0 again.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.text import join_lines, one_line
from shared.errors import FatalError, SinkUnavailable

_FILE_NAME = re.compile(r"(\d{20})-(\d{20})\.ndjson")
TEMPORARY_SUFFIX = ".tmp"
# A younger one may be the file that another member, on another host, is writing now.
LEFTOVER_AFTER_S = 600.0


class PartitionFolder:
    """The files of one partition, and the values that are not in one yet. Not for use by two threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held_bytes = 0
        self._values: list[bytes] = []
        self._offsets: list[int] = []
        self._covered_to = 0
        self._archived_to = 0
        self._compared = False
        self._seen_change_ns = -1

    def prepare(self) -> int:
        """Make the folder, remove what a killed process left half done; return the next offset to archive."""
        if not self.path.is_dir():
            self.path.mkdir(parents=True, exist_ok=True)
            for parent in (self.path.parent, self.path.parent.parent):
                _sync_folder(parent)
        for leftover in self.path.glob(f"*{TEMPORARY_SUFFIX}"):
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > LEFTOVER_AFTER_S:
                    leftover.unlink()
        return self._look()

    def _look(self) -> int:
        """Read the names, if the folder has changed since this object did so or wrote to it."""
        changed_ns = self.path.stat().st_mtime_ns
        if changed_ns != self._seen_change_ns:
            found = [match for path in self.path.iterdir() if (match := _FILE_NAME.fullmatch(path.name))]
            self._archived_to = max((int(match[2]) + 1 for match in found), default=0)
            self._seen_change_ns = changed_ns
        return self._archived_to

    def hold(self, batch: DecodedBatch) -> None:
        """Keep it until `publish`."""
        if batch.first_offset < self._covered_to:
            self._compared = False  # offsets that go back are those of another topic, or of a lost tail
        self._offsets += batch.offsets
        self._values += batch.values
        self.held_bytes += sum(map(len, batch.values))
        self._covered_to = batch.next_offset

    def publish(self) -> None:
        """Write what is held and not archived yet to a file. Raises OSError or FatalError, and keeps it then."""
        # An earlier process may have died between writing and committing; and another member may have archived these
        # offsets since, if this one was stopped for longer than its session.
        archived_to = self._look()
        held = list(zip(self._offsets, self._values, strict=True))
        kept = [(offset, value) for offset, value in held if offset >= archived_to]
        self._compare([(offset, value) for offset, value in held if offset < archived_to])
        if kept:
            self._write(f"{kept[0][0]:020d}-{self._covered_to - 1:020d}.ndjson", [value for _offset, value in kept])
            self._archived_to = self._covered_to
            self._seen_change_ns = self.path.stat().st_mtime_ns
        self._offsets, self._values, self.held_bytes = [], [], 0

    def _compare(self, skipped: Sequence[tuple[int, bytes]]) -> None:
        """Hold the first and the last of those that are passed over against the files, once after an assignment."""
        if not skipped or self._compared:
            return
        for offset, value in (skipped[0], skipped[-1]):
            archived = self._archived_at(offset)
            if archived is not None and one_line(value) not in archived:
                raise FatalError(
                    f"{self.path} holds another record at offset {offset} than the topic: the topic was made anew. "
                    "Move the folder away; its files belong to a topic that is gone."
                )
        self._compared = True

    def _archived_at(self, offset: int) -> Sequence[bytes] | None:
        """The line of that offset; all of its file where rejects left gaps; None when the file was removed."""
        for path in self.path.iterdir():
            match = _FILE_NAME.fullmatch(path.name)
            if match and int(match[1]) <= offset <= int(match[2]):
                lines = path.read_bytes().split(b"\n")[:-1]
                gapless = len(lines) == int(match[2]) - int(match[1]) + 1
                return [lines[offset - int(match[1])]] if gapless else lines
        return None

    def _write(self, name: str, values: list[bytes]) -> None:
        temporary = self.path / f".{name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            # Not the process id: in containers that share the folder it is the same small number.
            with temporary.open("xb") as file:
                file.write(join_lines(values))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / name)
        except FileExistsError:
            raise  # it is another member's
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(self.path)


class ArchiveSink:
    """Holds values until `flush`, or until there are `buffer_bytes` of them."""

    def __init__(self, directory: Path, buffer_bytes: int) -> None:
        self._directory = directory
        self._buffer_bytes = buffer_bytes
        self._folders: dict[int, PartitionFolder] = {}

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> ArchiveSink:
        return cls(settings.archive_dir, settings.archive_buffer_bytes)

    async def open(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FatalError(f"ARCHIVE_DIR={self._directory} cannot be made: {error.strerror}.") from error
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise FatalError(f"ARCHIVE_DIR={self._directory} cannot be written by uid {os.geteuid()}.")

    async def resume(self, _topic: str, _partitions: Collection[int]) -> Mapping[int, int]:
        """Where the group has come to."""
        return {}

    async def write(self, batch: DecodedBatch) -> None:
        folder = self._folders.get(batch.partition) or await self._prepare(batch)
        # First make room: when that fails the batch is not taken, and may come again.
        if sum(one.held_bytes for one in self._folders.values()) >= self._buffer_bytes:
            await self.flush()
        folder.hold(batch)

    async def _prepare(self, batch: DecodedBatch) -> PartitionFolder:
        folder = PartitionFolder(self._directory / batch.topic / f"partition={batch.partition}")
        try:
            archived_to = await asyncio.to_thread(folder.prepare)
        except OSError as error:
            raise SinkUnavailable(f"cannot use {folder.path}: {error.strerror}") from error
        if batch.end_offset is not None and archived_to > batch.end_offset:
            raise FatalError(
                f"{folder.path} has offsets up to {archived_to - 1}, but the partition ends before {batch.end_offset}: "
                "the topic was made anew. Move the folder away; its files belong to a topic that is gone."
            )
        self._folders[batch.partition] = folder
        return folder

    async def flush(self) -> None:
        for folder in list(self._folders.values()):
            try:
                await asyncio.to_thread(folder.publish)
            except OSError as error:
                raise SinkUnavailable(f"cannot write to {folder.path}: {error.strerror}") from error

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._folders.pop(partition, None)

    async def close(self) -> None:
        """Nothing to do: no file stays open."""


def _sync_folder(path: Path) -> None:
    """Make the names in a folder as durable as the files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
