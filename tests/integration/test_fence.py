"""The fence against publishers of the same name, and the private names of the client that it relies on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from compose.local.broker import Broker
from shared.errors import BrokerUnavailable, Fenced
from shared.kafka import producer as producer_module
from shared.kafka.fence import raise_fence
from shared.kafka.log_reader import Place, open_log_reader
from shared.kafka.producer import BatchPublisher
from shared.runtime.settings import KafkaSettings
from tests.integration.conftest import Topics, made_topics
from tests.integration.producer_driver import read_topic

NAME = "producer@fence-test"


def settings_of(broker: str, topics: Topics) -> KafkaSettings:
    return KafkaSettings(
        service_name="test",
        kafka_bootstrap_servers=broker,
        kafka_topic=topics.records,
        kafka_dead_letter_topic=topics.dead_letters,
    )


async def start(broker: str, topics: Topics, name: str = NAME) -> BatchPublisher:
    names = (topics.records, topics.dead_letters)
    return await BatchPublisher.start(
        settings_of(broker, topics), names, compression_type="zstd", max_batch_bytes=100_000, transactional_id=name
    )


async def publish(publisher: BatchPublisher, topics: Topics, value: bytes, partition: int = 0) -> None:
    batch = publisher.new_batch()
    batch.append(timestamp=1_700_000_000_000, key=None, value=value)
    await publisher.confirm(batch, topics.records, partition, 10.0)


async def test_a_second_publisher_of_a_name_shuts_the_first_one_out_of_every_partition(
    broker: str, topics: Topics
) -> None:
    """Also of partitions that neither of them has written to yet."""
    zombies = [await start(broker, topics) for _start in range(2)]
    last = await start(broker, topics)
    for zombie, partition in zip(zombies, (0, topics.partition_count - 1), strict=True):
        with pytest.raises(Fenced):
            await publish(zombie, topics, b"late", partition)
        await zombie.abandon()
        await publish(last, topics, b"last", partition)
    await last.close()
    assert [found.value for found in read_topic(broker, topics.records)] == [b"last", b"last"]


async def test_names_do_not_shut_each_other_out(broker: str, topics: Topics) -> None:
    """Two hosts publish to the same topic."""
    one, other = await start(broker, topics, "producer@one"), await start(broker, topics, "producer@other")
    await publish(one, topics, b"one")
    await publish(other, topics, b"other")
    await one.close()
    await other.close()


async def test_what_is_published_behind_the_fence_needs_no_read_committed(broker: str, topics: Topics) -> None:
    """Plain batches: a reader that skips transactions and one that knows nothing of them see the same at once."""
    publisher = await start(broker, topics)
    await publish(publisher, topics, b"plain")
    for isolation in ("read_committed", "read_uncommitted"):
        reader = Consumer({"bootstrap.servers": broker, "group.id": "none", "isolation.level": isolation})
        reader.assign([TopicPartition(topics.records, 0, 0)])
        message = reader.poll(10.0)
        assert message is not None
        assert message.value() == b"plain"
        reader.close()
    await publisher.close()


async def test_the_end_of_a_partition_that_holds_only_markers_is_reached(broker: str, topics: Topics) -> None:
    """A marker takes an offset that no record shows: reading must end all the same."""
    for _fence in range(2):
        await (await start(broker, topics)).close()
    place = Place(topics.records, 3)
    async with open_log_reader(settings_of(broker, topics)) as reader:
        ends = await reader.end_offsets([place])
        assert ends == {place: 2}
        assert [batch async for batch in reader.read({place: 0}, ends)] == []
        assert await reader.first_offsets([place]) == {place: 0}
        assert await reader.has_topic(topics.records)
        assert not await reader.has_topic("no-such-topic")


async def test_a_start_that_was_overtaken_between_fence_and_client_is_refused(
    broker: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused between its two starts of the name, it must not go on as if nobody had come between."""
    fenced, go_on = asyncio.Event(), asyncio.Event()

    async def paused(settings: KafkaSettings, name: str, names: Sequence[str]) -> tuple[int, int]:
        raised = await raise_fence(settings, name, names)
        fenced.set()
        await go_on.wait()
        return raised

    monkeypatch.setattr(producer_module, "raise_fence", paused)
    sleeper = asyncio.create_task(start(broker, topics))
    await fenced.wait()
    monkeypatch.setattr(producer_module, "raise_fence", raise_fence)
    other = await start(broker, topics)
    await publish(other, topics, b"other 1")
    go_on.set()
    with pytest.raises(BrokerUnavailable, match="at the same time"):
        await sleeper
    await other.abandon()


# A broker that forgets after a second what others forget after a day or a week.
FORGETFUL = {
    "transactional.id.expiration.ms": "1000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
    "producer.id.expiration.ms": "1000",
    "producer.id.expiration.check.interval.ms": "200",
}
ATTEMPTS = 8


async def zombie_gets_through(broker: str, topics: Topics, *, renewed: bool) -> bool:
    """Whether one of many zombies, waking one after the other in seconds, writes behind the last one's fence."""
    zombies = [await start(broker, topics) for _attempt in range(ATTEMPTS)]
    last = await start(broker, topics)
    got_through = False
    for zombie in zombies:
        woken_at = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < woken_at:
            if renewed:
                await last.close()
                last = await start(broker, topics)
            await asyncio.sleep(0.1)
        try:
            await publish(zombie, topics, b"late")
            got_through = True
        except Fenced:
            pass
        await zombie.abandon()
    await last.close()
    return got_through


async def test_a_fence_that_is_raised_anew_outlives_what_the_broker_forgets(tmp_path: Path) -> None:
    """One that is not does not: with a broker that forgets soon, the difference shows."""
    broker = Broker.prepare(tmp_path, overrides=FORGETFUL)
    broker.start()
    try:
        broker.wait_until_ready()
        with made_topics(broker.bootstrap_servers, 1) as topics:
            assert await zombie_gets_through(broker.bootstrap_servers, topics, renewed=False)
        with made_topics(broker.bootstrap_servers, 1) as topics:
            assert not await zombie_gets_through(broker.bootstrap_servers, topics, renewed=True)
    finally:
        broker.stop()
