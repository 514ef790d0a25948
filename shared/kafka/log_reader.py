"""Reading partitions from one offset to another, without a group: what is there already, and nothing that comes later.

The client's position tells how far a partition was read, not the last record: markers of transactions take offsets
that no record shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import BrokerUnavailable
from shared.kafka.connection import (
    CLIENT_ERRORS,
    client_options,
    ended,
    partitions_by_name,
    start_client,
    translate,
)
from shared.kafka.records import ReceivedRecord, RecordBatch
from shared.runtime.settings import KafkaSettings

START_TIMEOUT_S = 20.0
# Short: markers alone end no poll, and a position tells when the end is reached.
POLL_TIMEOUT_MS = 20
# A read that gains nothing for this long has lost its broker.
STALL_TIMEOUT_S = 15.0
# Small polls: many young objects make the garbage collector the cost.
MAX_POLL_RECORDS = 2_000


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class LogReader:
    """A started client without a group. Use it through `open_log_reader`."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client

    async def has_topic(self, topic: str) -> bool:
        """Whether the topic exists; asking does not make it. Raises AccessDenied when it is hidden from this client."""
        async with _translated(f"looking for {topic}"):
            return bool(await partitions_by_name(self._client._client, topic))

    async def first_offsets(self, places: list[Place]) -> dict[Place, int]:
        """The oldest offset that is still kept, by partition."""
        async with _translated("reading the first offsets"):
            found = await self._client.beginning_offsets([TopicPartition(*place) for place in places])
        return {Place(*place): offset for place, offset in found.items()}

    async def end_offsets(self, places: list[Place]) -> dict[Place, int]:
        """The next offset to be written, by partition."""
        async with _translated("reading the end offsets"):
            found = await self._client.end_offsets([TopicPartition(*place) for place in places])
        return {Place(*place): offset for place, offset in found.items()}

    async def offsets_at(self, places: list[Place], timestamp_ms: int) -> dict[Place, int | None]:
        """The first offset whose record is of that time or later, by partition; None where there is none."""
        wanted = {TopicPartition(*place): max(timestamp_ms, 0) for place in places}
        async with _translated("reading the offsets of a time"):
            found = await self._client.offsets_for_times(wanted)
        return {Place(*place): None if at is None else at.offset for place, at in found.items()}

    async def first_records(self, starts: Mapping[Place, int], timeout_s: float) -> dict[Place, ReceivedRecord]:
        """The first record at these offsets or behind them, by partition; absent where none came in time."""
        if not starts:
            return {}
        self._client.assign([TopicPartition(*place) for place in starts])
        for place, offset in starts.items():
            self._client.seek(TopicPartition(*place), offset)
        found: dict[Place, ReceivedRecord] = {}
        give_up_at = asyncio.get_running_loop().time() + timeout_s
        while len(found) < len(starts) and asyncio.get_running_loop().time() < give_up_at:
            async with _translated("reading a topic"):
                polled = await self._client.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=1)
            for place, records in polled.items():
                found.setdefault(Place(*place), records[0])
                self._client.pause(place)
        return found

    async def read(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> AsyncIterator[RecordBatch]:
        """Every record from `starts` up to but not including `ends`, in batches of one partition.

        Raises BrokerUnavailable when nothing is gained for STALL_TIMEOUT_S.
        """
        wanted = {place: end for place, end in ends.items() if starts[place] < end}
        if not wanted:
            return
        self._client.assign([TopicPartition(*place) for place in wanted])
        for place in wanted:
            self._client.seek(TopicPartition(*place), starts[place])
        gained_at = asyncio.get_running_loop().time()
        left = sum(wanted.values())
        while wanted:
            async with _translated("reading a topic"):
                polled = await self._client.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_POLL_RECORDS)
            for found, records in polled.items():
                place = Place(*found)
                if kept := [record for record in records if record.offset < ends[place]]:
                    yield RecordBatch(place.topic, place.partition, kept, ends[place])
            gained = await self._drop_finished(wanted)
            now = asyncio.get_running_loop().time()
            if polled or gained != left:
                gained_at, left = now, gained
            elif now - gained_at > STALL_TIMEOUT_S:
                raise BrokerUnavailable(f"reading stands still before the ends {wanted}")

    async def _drop_finished(self, wanted: dict[Place, int]) -> int:
        """Remove from `wanted` what was read to its end; returns a number that changes with every gain."""
        positions = 0
        for place, end in list(wanted.items()):
            async with _translated("reading a position"):
                position = await self._client.position(TopicPartition(*place))
            if position >= end:
                del wanted[place]
                self._client.pause(TopicPartition(*place))
            positions += position
        return positions


@asynccontextmanager
async def open_log_reader(settings: KafkaSettings, *, committed_only: bool = False) -> AsyncIterator[LogReader]:
    """A reader while the context is open; `committed_only` leaves out what aborted transactions wrote.

    Raises BrokerUnavailable or AccessDenied.
    """
    client = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed_only else "read_uncommitted",
    )
    try:
        async with _translated("connecting a reader"):
            await start_client(client, settings)
            # aiokafka 0.14: a client that stops before its coordinator's task has run once raises CancelledError.
            await asyncio.sleep(0)
        yield LogReader(client)
    finally:
        await ended(client.stop())


@asynccontextmanager
async def _translated(doing: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            yield
    except CLIENT_ERRORS as error:
        raise translate(error, doing) from error
