"""What groups and topics look like from outside: members, their partitions, committed and end offsets, the records.

For operators' tools; nothing here joins a group or commits. Touches a private name of aiokafka 0.14.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from shared.kafka.committed import every_commit, once_loaded
from shared.kafka.connection import CLIENT_ERRORS, client_options, ended, partitions_by_name, start_client, translate
from shared.kafka.log_reader import Place, open_log_reader
from shared.runtime.settings import KafkaSettings

VIEW_TIMEOUT_S = 15.0


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

    A partition without a commit is absent from `committed`; that is unknown, not zero. `reads_topic` is False when
    nothing of it has to do with the topic: no commit, no partition, no subscription.
    """

    name: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[int, int]
    reads_topic: bool = True


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
    except CLIENT_ERRORS as error:
        raise translate(error, doing) from error


async def describe_groups(settings: KafkaSettings, names: Sequence[str], topic: str) -> tuple[Group, ...]:
    """The groups in the order asked for; one that the broker does not know is `Dead` or `Empty` without members.

    Raises BrokerUnavailable, AccessDenied and the like.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with _translated("describing groups"):
            await start_client(admin, settings)
            return tuple([await _describe_group(admin, name, topic) for name in names])
    finally:
        await ended(admin.close())


async def list_groups(settings: KafkaSettings) -> list[str]:
    """The consumer groups of all brokers, by name. Raises BrokerUnavailable, AccessDenied and the like."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with _translated("listing groups"):
            await start_client(admin, settings)
            found = await once_loaded(admin.list_consumer_groups)
    finally:
        await ended(admin.close())
    # Kafka Connect and share groups speak other protocols; groups that only commit have none.
    return sorted({name for name, protocol in found if protocol in ("consumer", "")})


async def _describe_group(admin: AIOKafkaAdminClient, name: str, topic: str) -> Group:
    state, members = await once_loaded(lambda: _described(admin, name))
    committed = await every_commit(admin._client, name, topic)
    described_members = tuple(_member(entry, topic) for entry in members)
    reads_topic = bool(committed) or any(_may_read(entry, topic) for entry in members)
    return Group(name, state, described_members, committed, reads_topic)


async def _described(admin: AIOKafkaAdminClient, name: str) -> tuple[str, Sequence[Any]]:
    """State and members of a group, as its coordinator describes them."""
    coordinator = await admin.find_coordinator(name)
    [response] = await admin.describe_consumer_groups([name], group_coordinator_id=coordinator)
    [(code, _name, state, _kind, _protocol, members, *_rest)] = response.groups
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError and error is not kafka_errors.GroupIdNotFound:
        raise error(f"group {name}")
    return state, members


def _member(entry: Sequence[Any], topic: str) -> Member:
    """A member from an entry of DescribeGroups; static members carry a group_instance_id in second place."""
    member_id, client_id, host = entry[0], entry[-4], entry[-3]
    assignment: bytes = entry[-1]
    owned: list[int] = []
    if assignment:  # empty while the group rebalances
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        owned = [partition for name, partitions in decoded.assignment if name == topic for partition in partitions]
    return Member(member_id, client_id, host.lstrip("/"), tuple(sorted(owned)))


def _may_read(entry: Sequence[Any], topic: str) -> bool:
    """Whether a member subscribed to the topic; also when that is not known, as while the group rebalances."""
    metadata: bytes = entry[-2]
    if not metadata:
        return True
    try:
        return topic in ConsumerProtocolMemberMetadata.decode(metadata).subscription
    except ValueError:  # of a protocol that is none of ours
        return True


async def partitions_of(settings: KafkaSettings, topic: str) -> list[Place]:
    """The partitions of the topic; none when there is no such topic."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with _translated(f"reading the partitions of {topic}"):
            await start_client(admin, settings)
            return [Place(topic, partition) for partition in await partitions_by_name(admin._client, topic)]
    finally:
        await ended(admin.close())


async def end_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """The next offset to be written, by partition; empty when the topic does not exist."""
    places = await partitions_of(settings, topic)
    if not places:
        return {}
    async with open_log_reader(settings) as reader:
        found = await reader.end_offsets(places)
    return {place.partition: offset for place, offset in found.items()}


async def read_topic(
    settings: KafkaSettings, topic: str, start: Mapping[int, int], end: Mapping[int, int]
) -> AsyncIterator[StoredRecord]:
    """Every record of the topic from `start` up to but not including `end`, offsets by partition."""
    starts = {Place(topic, partition): start.get(partition, 0) for partition in end}
    ends = {Place(topic, partition): last for partition, last in end.items()}
    async with open_log_reader(settings) as reader:
        async for batch in reader.read(starts, ends):
            for record in batch.records:
                yield StoredRecord(batch.partition, record.offset, record.value)
