"""The wrapper around the Kafka client: what it promises, and the private names of the client that it relies on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
import uvloop
from aiokafka import errors as kafka_errors
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from compose.local.broker import Broker
from shared.errors import BrokerUnavailable
from shared.kafka.consumer import GroupReader, Membership
from shared.kafka.groups import read_topic as stored_records
from shared.kafka.producer import BatchPublisher, DeliveryReport
from shared.kafka.topics import TopicSpec, ensure_topic
from shared.runtime.settings import KafkaSettings
from tests.integration.conftest import Topics
from tests.integration.producer_driver import read_topic


async def start(broker: str, topics: Topics) -> BatchPublisher:
    settings = KafkaSettings(
        service_name="test",
        kafka_bootstrap_servers=broker,
        kafka_topic=topics.records,
        kafka_dead_letter_topic=topics.dead_letters,
        kafka_request_timeout_ms=1_000,
    )
    names = (topics.records, topics.dead_letters)
    return await BatchPublisher.start(settings, names, compression_type="zstd", max_batch_bytes=100_000)


async def test_a_batch_is_confirmed_by_all_replicas_and_reported_once(broker: str, topics: Topics) -> None:
    """acks=all and idempotence: with fewer, a confirmation would promise less than the checkpoint takes it for."""
    publisher = await start(broker, topics)
    assert publisher._client._sender._acks == -1
    assert publisher._client._txn_manager is not None
    reports: list[DeliveryReport] = []
    reported = asyncio.Event()
    batch = publisher.new_batch()
    for number in range(3):
        assert batch.append(timestamp=1_700_000_000_000, key=b"k", value=b"%d" % number) is not None

    def on_report(report: DeliveryReport) -> None:
        reports.append(report)
        reported.set()

    await publisher.send(batch, topics.records, 5, 10.0, on_report)
    await asyncio.wait_for(reported.wait(), 10)
    await publisher.close()
    (report,) = reports
    assert (report.topic, report.partition, report.first_offset, report.record_count) == (topics.records, 5, 0, 3)
    assert report.error is None
    assert [found.value for found in read_topic(broker, topics.records)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_a_reader_that_finds_nothing_to_read_leaves_in_peace(
    broker: str, topics: Topics, loop: Callable[[Coroutine[object, object, list[object]]], list[object]]
) -> None:
    """The client's coordinator has not run once when it is closed; its cancellation would be taken for ours."""
    settings = KafkaSettings(service_name="test", kafka_bootstrap_servers=broker)

    async def read_nothing() -> list[object]:
        return [record async for record in stored_records(settings, topics.records, {}, {0: 0})]

    assert loop(read_nothing()) == []


async def test_an_abandoned_client_ends_at_once_and_leaves_nothing_running(
    breakable_broker: Broker, broker: str, topics: Topics
) -> None:
    """The client's own `stop` would wait for the broker; its names that are used instead must still exist."""
    before = asyncio.all_tasks()
    publisher = await start(broker, topics)
    breakable_broker.pause()
    reports: list[DeliveryReport] = []
    batch = publisher.new_batch()
    batch.append(timestamp=1_700_000_000_000, key=None, value=b"never confirmed")
    await publisher.send(batch, topics.records, 0, 10.0, reports.append)
    await asyncio.wait_for(publisher.abandon(), 10)
    (report,) = reports
    assert isinstance(report.error, BrokerUnavailable)
    left = asyncio.all_tasks() - before
    if left:
        await asyncio.wait(left, timeout=5)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def test_a_topic_that_is_otherwise_than_wanted_is_told_of(broker: str, topics: Topics) -> None:
    """Its partitions and their copies as well as its settings; missing partitions are added and are no difference."""
    settings = KafkaSettings(service_name="test", kafka_bootstrap_servers=broker)
    fewer = await ensure_topic(settings, TopicSpec(topics.records, topics.partition_count - 1, 3))
    assert (fewer.created, fewer.partitions_added) == (False, 0)
    assert fewer.drift == (
        ("partitions", str(topics.partition_count - 1), str(topics.partition_count)),
        ("replication.factor", "3", "1"),
    )
    more = await ensure_topic(settings, TopicSpec(topics.records, topics.partition_count + 1, 1))
    assert (more.partitions_added, more.drift) == (1, ())


class Nobody:
    """Listens to no reassignment."""

    async def on_revoked(self, partitions: frozenset[int]) -> None: ...

    async def on_assigned(self, partitions: frozenset[int]) -> None: ...


async def test_a_reader_whose_client_asks_for_metadata_no_more_is_spent(broker: str, topics: Topics) -> None:
    """By whatever error that task ended: its owner replaces the reader."""
    settings = KafkaSettings(service_name="test", kafka_bootstrap_servers=broker, kafka_topic=topics.records)
    reader = await GroupReader.start(settings, Membership("nobody", "earliest", 10_000, 5_000), Nobody())

    async def fail() -> None:
        raise ValueError("strange")

    try:
        await reader.poll(1, 0.1)
        client = reader._client._client
        client._sync_task.cancel()
        client._sync_task = asyncio.create_task(fail())
        await asyncio.wait({client._sync_task})
        with pytest.raises(BrokerUnavailable, match="strange"):
            await reader.poll(1, 0.1)
    finally:
        await reader.stop()
    assert not [one for one in client._conns.values() if one.connected()]


async def test_a_reader_stops_although_its_connections_were_left_closing(broker: str, topics: Topics) -> None:
    """As a `stop` that took too long leaves them: the next one finds futures that were cancelled, and that is all."""
    settings = KafkaSettings(service_name="test", kafka_bootstrap_servers=broker, kafka_topic=topics.records)
    reader = await GroupReader.start(settings, Membership("nobody", "earliest", 10_000, 5_000), Nobody())
    cut_short = asyncio.create_task(reader._client._client.close())
    while not any(connection._writer is None for connection in reader._client._client._conns.values()):
        await asyncio.sleep(0)
    cut_short.cancel()
    await asyncio.wait({cut_short})
    assert cut_short.cancelled()
    await reader.stop()


def test_a_write_to_a_connection_that_was_just_closed_is_a_lost_connection(broker: str) -> None:
    """uvloop raises RuntimeError between the end of a transport and the moment in which the client has heard of it."""
    causes: list[BaseException | None] = []

    async def write_while_it_closes() -> None:
        host, _, port = broker.partition(":")
        connection = await create_conn(host, int(port))
        connection._writer.transport.abort()
        for _turn_of_the_loop in range(5):
            await asyncio.sleep(0)
            with pytest.raises(kafka_errors.KafkaConnectionError) as raised:
                await connection.send(MetadataRequest([]))
            causes.append(raised.value.__cause__)
        assert not connection.connected()

    uvloop.run(write_while_it_closes())
    assert isinstance(causes[0], RuntimeError)
