"""What groups and topics look like from outside: members, their partitions, committed and end offsets, the records.

For operators' tools; nothing here joins a group or commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from shared.errors import BrokerUnavailable
from shared.kafka.connection import client_options, translate
from shared.runtime.settings import KafkaSettings

VIEW_TIMEOUT_S = 15.0
READ_TIMEOUT_MS = 500
# A scan that receives nothing for this long has lost its broker.
READ_STALL_S = 15.0


@dataclass(frozen=True)
class Member:
    """One member of a group and the partitions of one topic that it owns."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """A consumer group as its coordinator sees it. `committed` holds the next offset by partition of the topic.

    A partition without a commit is absent from `committed`; that is unknown, not zero.
    """

    name: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[int, int]


@dataclass(frozen=True)
class StoredRecord:
    """One record of a topic as the broker keeps it."""

    partition: int
    offset: int
    value: bytes | None


@asynccontextmanager
async def _translated(doing: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(VIEW_TIMEOUT_S):
            yield
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise translate(error, doing) from error


async def describe_groups(settings: KafkaSettings, names: Sequence[str], topic: str) -> tuple[Group, ...]:
    """The groups in the order asked for; one that the broker does not know is `Dead` or `Empty` without members.

    Raises BrokerUnavailable, AccessDenied and the like.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with _translated("describing groups"):
            await admin.start()
            return tuple([await _describe_group(admin, name, topic) for name in names])
    finally:
        await admin.close()


async def _describe_group(admin: AIOKafkaAdminClient, name: str, topic: str) -> Group:
    coordinator = await admin.find_coordinator(name)
    [response] = await admin.describe_consumer_groups([name], group_coordinator_id=coordinator)
    [described] = response.groups
    code, _name, state, _kind, _protocol, members, *_rest = described
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError and error is not kafka_errors.GroupIdNotFound:
        raise error(f"group {name}")
    offsets = await admin.list_consumer_group_offsets(name, group_coordinator_id=coordinator)
    committed = {place.partition: found.offset for place, found in offsets.items() if place.topic == topic}
    return Group(
        name, state, tuple(_member(entry, topic) for entry in members), {p: o for p, o in committed.items() if o >= 0}
    )


def _member(entry: Sequence[Any], topic: str) -> Member:
    """A member from an entry of DescribeGroups; static members carry a group_instance_id in second place."""
    member_id, client_id, host = entry[0], entry[-4], entry[-3]
    assignment: bytes = entry[-1]
    owned: list[int] = []
    if assignment:  # empty while the group rebalances
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        owned = [partition for name, partitions in decoded.assignment if name == topic for partition in partitions]
    return Member(member_id, client_id, host.lstrip("/"), tuple(sorted(owned)))


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group."""
    consumer = AIOKafkaConsumer(
        **client_options(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with _translated("connecting"):
            await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def _places(settings: KafkaSettings, topic: str) -> list[TopicPartition]:
    """The partitions of the topic; none when there is no such topic."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with _translated(f"reading the partitions of {topic}"):
            await admin.start()
            [described] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return [TopicPartition(topic, entry["partition"]) for entry in described["partitions"]]


async def end_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """The next offset to be written, by partition; empty when the topic does not exist."""
    places = await _places(settings, topic)
    if not places:
        return {}
    async with _reader(settings) as consumer, _translated(f"reading the end offsets of {topic}"):
        found = await consumer.end_offsets(places)
    return {place.partition: offset for place, offset in found.items()}


async def read_topic(
    settings: KafkaSettings, topic: str, start: Mapping[int, int], end: Mapping[int, int]
) -> AsyncIterator[StoredRecord]:
    """Every record of the topic from `start` up to but not including `end`, offsets by partition.

    Raises BrokerUnavailable when nothing arrives for READ_STALL_S.
    """
    wanted = {partition: last for partition, last in end.items() if start.get(partition, 0) < last}
    if not wanted:
        return
    async with _reader(settings) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in wanted])
        for partition in wanted:
            consumer.seek(TopicPartition(topic, partition), start.get(partition, 0))
        progressed_at = asyncio.get_running_loop().time()
        while wanted:
            messages = await _poll(consumer)
            for message in messages:
                if message.offset < end[message.partition]:
                    yield StoredRecord(message.partition, message.offset, message.value)
            await _drop_finished(consumer, topic, wanted)
            now = asyncio.get_running_loop().time()
            progressed_at = now if messages else progressed_at
            if now - progressed_at > READ_STALL_S:
                raise BrokerUnavailable(f"the scan of {topic} stands still before the ends {wanted}")


async def _poll(consumer: AIOKafkaConsumer) -> list[Any]:
    batches = await consumer.getmany(timeout_ms=READ_TIMEOUT_MS)
    return [message for messages in batches.values() for message in messages]


async def _drop_finished(consumer: AIOKafkaConsumer, topic: str, wanted: dict[int, int]) -> None:
    """Remove from `wanted` what was read to its end.

    The position tells, not the last offset seen: transaction markers take offsets that no record shows.
    """
    for partition, end in list(wanted.items()):
        place = TopicPartition(topic, partition)
        if await consumer.position(place) >= end:
            del wanted[partition]
            consumer.pause(place)
