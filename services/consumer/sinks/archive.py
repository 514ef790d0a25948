"""Keeps every record in Parquet files, by the hour of its event time: exactly once, at every instant.

    ARCHIVE_DIR/nginx_logs/date=2026-11-22/hour=15/p3-00000000000000000042-00000000000000000541.parquet

The names are the memory of what is archived: whoever gets a partition passes over what is there, so a record that Kafka
delivers twice stands in the files once. Why that holds is said in `services/consumer/archive/partition.py`. What is
passed over is compared with the files first: a topic that was made anew counts its offsets from 0 again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa

from services.consumer.archive.columns import rows_by_hour
from services.consumer.archive.partition import PartitionArchive
from services.consumer.archive.survey import survey
from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings
from shared.durable import make_root
from shared.errors import FatalError, SinkUnavailable
from shared.runtime.logging import get_logger

# After a merge that failed, how long until the next attempt at that hour.
MERGE_RETRY_S = 60.0


class ArchiveSink:
    """Holds rows until `flush`, or until there are `buffer_bytes` of them. Hours that were quiet are merged."""

    def __init__(self, directory: Path, buffer_bytes: int, compact_after_s: float) -> None:
        self._directory = directory
        self._buffer_bytes = buffer_bytes
        self._compact_after_s = compact_after_s
        self._partitions: dict[int, PartitionArchive] = {}
        self._archived_to: dict[int, int] = {}

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> ArchiveSink:
        return cls(settings.archive_dir, settings.archive_buffer_bytes, settings.archive_compact_after_s)

    async def open(self) -> None:
        # Arrow's own allocators keep what they have once needed.
        pa.set_memory_pool(pa.system_memory_pool())
        try:
            make_root(self._directory)
        except OSError as error:
            raise FatalError(f"ARCHIVE_DIR={self._directory} cannot be made: {error.strerror}.") from error
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise FatalError(f"ARCHIVE_DIR={self._directory} cannot be written by uid {os.geteuid()}.")

    async def resume(self, topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """Where the group has come to; what is archived behind that is passed over one by one."""
        archives = {partition: PartitionArchive(self._directory, topic, partition) for partition in partitions}
        try:
            for archive in archives.values():
                await asyncio.to_thread(archive.settle)
            found = await asyncio.to_thread(survey, self._directory / topic, partitions)
        except OSError as error:
            raise SinkUnavailable(f"cannot use {self._directory / topic}: {error.strerror}") from error
        for partition, one in found.items():
            archive = archives[partition]
            if self._compact_after_s:
                archive.merge_at = {hour: at + self._compact_after_s for hour, at in one.mergeable.items()}
            self._partitions[partition], self._archived_to[partition] = archive, one.archived_to
        return {}

    async def write(self, batch: DecodedBatch) -> None:
        if batch.partition not in self._partitions:
            await self.resume(batch.topic, [batch.partition])
        archive = self._partitions[batch.partition]
        self._refuse_another_topic(batch, archive)
        rows = await asyncio.to_thread(rows_by_hour, batch)
        # First make room: when that fails the batch is not taken, and may come again.
        held_bytes = sum(one.held_bytes for one in self._partitions.values())
        if held_bytes >= self._buffer_bytes:
            await self._publish_all()
        if archive.goes_back(batch):
            await self._publish(archive)
        archive.hold(batch, rows)

    def _refuse_another_topic(self, batch: DecodedBatch, archive: PartitionArchive) -> None:
        archived_to = self._archived_to[batch.partition]
        if batch.end_offset is not None and archived_to > batch.end_offset:
            raise FatalError(
                f"{archive.path} has offsets of partition {batch.partition} up to {archived_to - 1}, but that ends "
                f"before {batch.end_offset}: the topic was made anew. Move the folder away; its files belong to a "
                "topic that is gone."
            )

    async def flush(self) -> None:
        await self._publish_all()
        await self._merge_some()

    async def _publish_all(self) -> None:
        for archive in list(self._partitions.values()):
            await self._publish(archive)

    async def _publish(self, archive: PartitionArchive) -> None:
        try:
            hours = await asyncio.to_thread(archive.publish)
        except OSError as error:
            raise SinkUnavailable(f"cannot write to {archive.path}: {error.strerror}") from error
        if self._compact_after_s:
            archive.merge_at.update(dict.fromkeys(hours, time.time() + self._compact_after_s))

    async def _merge_some(self) -> None:
        """A bounded piece of the work: one merge. Nothing that is archived depends on it."""
        now = time.time()
        archives = self._partitions.values()
        due = [(archive, hour) for archive in archives for hour, at in archive.merge_at.items() if at <= now]
        if not due:
            return
        archive, hour = due[0]
        try:
            merged = await asyncio.to_thread(archive.merge, hour)
        except (OSError, SinkUnavailable, pa.ArrowException) as error:
            archive.merge_at[hour] = now + MERGE_RETRY_S
            get_logger().warning("archive_merge_failed", folder=str(archive.folder(hour)), error=str(error))
        else:
            if not merged:
                del archive.merge_at[hour]

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)

    async def close(self) -> None:
        """Nothing to do: no file stays open."""
