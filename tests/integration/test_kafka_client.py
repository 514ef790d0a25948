"""The wrapper around the Kafka client: what it promises, and the private names of the client that it relies on."""

from __future__ import annotations

import asyncio

from compose.local.broker import Broker
from shared.errors import BrokerUnavailable
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
