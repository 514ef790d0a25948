"""SINK=kafka: each record once, whatever dies. The judge is another client, and reads what is committed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import TopicPartition as AioTopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NotCoordinatorError
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from compose.local.broker import Broker
from shared.errors import Fenced
from shared.kafka.committed import committed_offsets
from shared.kafka.consumer import GroupReader, Membership
from shared.kafka.offset_fetch import StableOffsetFetch
from shared.kafka.partitioner import partition_of_key
from shared.kafka.transactions import GroupOffsets, Outgoing, TransactionalPublisher
from shared.runtime.settings import KafkaSettings
from shared.schemas.headers import REPLAY_FOR_HEADER, REPLAY_HEADER
from tests.integration.conftest import DEADLINE_S, Topics, create_topics
from tests.integration.consumer_driver import (
    ROOT,
    Replica,
    Replicas,
    assignments,
    committed,
    headers_of,
    number_of,
    publish,
    read_all,
    running,
    until,
    value,
)

OUTPUT_PARTITIONS = 3
GROUP = "sender"


@dataclass
class Output:
    """The topic that is sent to."""

    broker: str
    topic: str

    @property
    def settings(self) -> dict[str, str]:
        return {"SINK": "kafka", "KAFKA_SINK_TOPIC": self.topic}

    def read(self, partition_count: int = OUTPUT_PARTITIONS) -> list[Message]:
        """Every committed record, in the order of each partition; fails when a transaction is left open."""
        reader = Consumer(
            {
                "bootstrap.servers": self.broker,
                "group.id": "judge",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        places = [TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in range(partition_count)]
        reader.assign(places)
        found: list[Message] = []
        open_ones = set(range(partition_count))
        try:
            while open_ones:
                message = reader.poll(DEADLINE_S)
                assert message is not None, "no answer from the broker"
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Of a reader of committed records: the end of what is decided.
                    end = self._end(message.partition() or 0)
                    assert message.offset() == end, "a transaction is left open"
                    open_ones.discard(message.partition() or 0)
        finally:
            reader.close()
        return found

    @property
    def written(self) -> int:
        """The offsets that are taken, of records that are decided and of others."""
        return sum(map(self._end, range(OUTPUT_PARTITIONS)))

    def _end(self, partition: int) -> int:
        plain = Consumer({"bootstrap.servers": self.broker, "group.id": "judge", "isolation.level": "read_uncommitted"})
        try:
            _first, end = plain.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=DEADLINE_S)
        finally:
            plain.close()
        return int(end)

    def audit(self, count: int) -> None:
        """Numbers from 0, each once; each source partition in its order within each partition of the output."""
        messages = self.read()
        numbers = Counter(number_of(json.loads(message.value() or b"")) for message in messages)
        missing = set(range(count)) - numbers.keys()
        twice = sorted(number for number, times in numbers.items() if times > 1)
        assert not missing, f"{len(missing)} of {count} are missing: {sorted(missing)[:10]}"
        assert not twice, f"{len(twice)} of {count} came more than once: {twice[:10]}"
        assert len(numbers) == count
        last: dict[tuple[int | None, str], int] = {}
        for message in messages:
            headers = headers_of(message)
            place, offset = (message.partition(), headers["original-partition"]), int(headers["original-offset"])
            assert offset > last.get(place, -1), "out of order"
            last[place] = offset


@pytest.fixture
def output(broker: str, topics: Topics) -> Iterator[Output]:
    name = f"{topics.records}-sent"
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    create_topics(admin, [NewTopic(name, OUTPUT_PARTITIONS, 1)])
    yield Output(broker, name)
    for future in admin.delete_topics([name]).values():
        future.result(DEADLINE_S)


@dataclass
class Load:
    """Numbers that go on being published until `end`, over all partitions."""

    broker: str
    topics: Topics
    count: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self.broker, "linger.ms": 5, "enable.idempotence": True})
        while not self._ended.wait(0.02):
            for number in range(self.count, self.count + 20):
                partition = number % self.topics.partition_count
                producer.produce(self.topics.records, value(number), key=b"192.0.2.%d" % partition, partition=partition)
            self.count += 20
            producer.poll(0)
        assert producer.flush(DEADLINE_S) == 0

    def end(self) -> None:
        self._ended.set()


@contextmanager
def loaded(broker: str, topics: Topics) -> Iterator[Load]:
    load = Load(broker, topics)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.end()
        thread.join(DEADLINE_S)


def done(broker: str, topics: Topics) -> int:
    return sum(committed(broker, GROUP, topics.records).values())


def until_done(broker: str, topics: Topics, count: int) -> None:
    until(lambda: done(broker, topics) >= count, f"{count} are committed")


def start(replicas: Replicas, output: Output, more: Mapping[str, str] | None = None) -> Replica:
    return replicas.start(GROUP, {**output.settings, **(more or {})})


def test_what_is_sent_names_its_origin_and_keeps_key_and_value(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    values = [value(number) for number in range(20)]
    publish(broker, topics.records, values, partition=5)
    with running(broker, topics, tmp_path) as replicas:
        replica = start(replicas, output)
        until_done(broker, topics, 20)
        assert replica.terminate() == 0
    messages = output.read()
    assert [message.value() for message in messages] == values
    assert {message.key() for message in messages} == {b"192.0.2.1"}
    assert {message.partition() for message in messages} == {partition_of_key(b"192.0.2.1", OUTPUT_PARTITIONS)}
    assert headers_of(messages[7]) == {
        "original-topic": topics.records,
        "original-partition": "5",
        "original-offset": "7",
    }


def send_under_kills(
    broker: str, topics: Topics, output: Output, directory: Path, kills: int, more: Mapping[str, str] | None = None
) -> int:
    """How many records there were."""
    with running(broker, topics, directory) as replicas, loaded(broker, topics) as load:
        replica = start(replicas, output, more)
        for _kill in range(kills):
            before = done(broker, topics)
            until(lambda before=before: done(broker, topics) > before + 300, "it works")  # type: ignore[misc]
            written = output.written
            until(lambda written=written: output.written > written, "a transaction is under way")  # type: ignore[misc]
            replica.kill()
            replica = start(replicas, output, more)
        load.end()
        until_done(broker, topics, load.count)
        assert replica.terminate() == 0
    return load.count


def test_each_record_is_sent_once_although_replicas_are_killed(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    """Five times, while records keep coming."""
    count = send_under_kills(broker, topics, output, tmp_path, kills=5)
    assert count > 2000
    output.audit(count)


# Runs before the replica's own code, because Python imports a module of this name at its start.
OFFSETS_OUTSIDE = """
import asyncio
from shared.kafka.transactions import TransactionalPublisher

publish = TransactionalPublisher.publish

async def publish_then_commit(self, records, offsets=None):
    await publish(self, records)
    await asyncio.sleep(0.5)
    await publish(self, [], offsets)

TransactionalPublisher.publish = publish_then_commit
"""


def test_offsets_that_are_committed_outside_of_the_transaction_are_seen_by_the_audit(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFSETS_OUTSIDE)
    count = send_under_kills(broker, topics, output, tmp_path, 2, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    with pytest.raises(AssertionError, match="came more than once"):
        output.audit(count)


def test_each_record_is_sent_once_while_the_group_grows_and_shrinks(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    with running(broker, topics, tmp_path) as replicas, loaded(broker, topics) as load:
        members = [start(replicas, output)]
        until_done(broker, topics, 300)
        members += [start(replicas, output), start(replicas, output)]
        until(lambda: sorted(map(len, assignments(broker, GROUP))) == [2, 3, 3], "three share the partitions")
        before = done(broker, topics)
        until_done(broker, topics, before + 500)
        for member in members[:2]:
            assert member.terminate() == 0
        until(lambda: list(map(len, assignments(broker, GROUP))) == [topics.partition_count], "one has them all")
        load.end()
        until_done(broker, topics, load.count)
        assert members[2].terminate() == 0
    output.audit(load.count)


def test_a_replica_that_wakes_up_after_its_session_sends_nothing_more(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    """It was stopped with records in its hands, another one has gone on, and it does not know."""
    with running(broker, topics, tmp_path) as replicas, loaded(broker, topics) as load:
        sleeper = start(replicas, output)
        until_done(broker, topics, 300)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        heir = start(replicas, output)
        until(lambda: heir.owns == frozenset(range(topics.partition_count)), "the heir has all partitions")
        before = done(broker, topics)
        until_done(broker, topics, before + 500)
        os.kill(sleeper.process.pid, signal.SIGCONT)
        until(lambda: sorted(map(len, assignments(broker, GROUP))) == [4, 4], "both share the partitions")
        before = done(broker, topics)
        until_done(broker, topics, before + 300)
        load.end()
        until_done(broker, topics, load.count)
        assert sleeper.terminate() == 0
        assert heir.terminate() == 0
    output.audit(load.count)


def test_each_record_is_sent_once_although_the_broker_dies(
    breakable_broker: Broker, topics: Topics, output: Output, tmp_path: Path
) -> None:
    """Killed and started again, twice, while transactions are under way."""
    broker = breakable_broker.bootstrap_servers
    with running(broker, topics, tmp_path) as replicas, loaded(broker, topics) as load:
        replica = start(replicas, output)
        for _kill in range(2):
            before = done(broker, topics)
            until(lambda before=before: done(broker, topics) > before + 300, "it works")  # type: ignore[misc]
            breakable_broker.kill()
            breakable_broker.start()
            breakable_broker.wait_until_ready()
        load.end()
        until_done(broker, topics, load.count)
        assert replica.terminate() == 0
    output.audit(load.count)


def test_a_record_that_is_too_large_for_the_topic_is_set_aside(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    narrow = Output(broker, f"{output.topic}-narrow")
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    create_topics(admin, [NewTopic(narrow.topic, 1, 1, config={"max.message.bytes": "2000"})])
    large = value(1).replace(b'"user_agent":"', b'"user_agent":"' + b"x" * 3000)
    publish(broker, topics.records, [value(0), large, value(2)], partition=1)
    with running(broker, topics, tmp_path) as replicas:
        replica = start(replicas, narrow)
        until_done(broker, topics, 3)
        [letter] = read_all(broker, topics.dead_letters, 1, topics.partition_count)
        assert replica.terminate() == 0
    assert headers_of(letter)["dlt-original-offset"] == "1"
    assert "takes records of 1872 bytes" in headers_of(letter)["dlt-exception-message"]
    assert [number_of(json.loads(one.value() or b"")) for one in narrow.read(1)] == [0, 2]


def test_only_what_is_wanted_is_sent_and_all_of_it_is_committed(
    broker: str, topics: Topics, output: Output, tmp_path: Path
) -> None:
    """WHERE, the transform and a replay for another group each leave something out."""
    numbers = range(100)
    values = [value(number, status=500 if number % 10 == 0 else 200) for number in numbers]
    publish(broker, topics.records, values, partition=2)
    producer = Producer({"bootstrap.servers": broker})
    for number, group in ((100, "other"), (110, GROUP)):
        headers: list[tuple[str, str | bytes | None]] = [(REPLAY_HEADER, b"run"), (REPLAY_FOR_HEADER, group.encode())]
        producer.produce(topics.records, value(number, status=500), partition=2, headers=headers)
    assert producer.flush(DEADLINE_S) == 0
    with running(broker, topics, tmp_path) as replicas:
        replica = start(replicas, output, {"TRANSFORM": "errors", "WHERE": "source.offset >= 50"})
        until_done(broker, topics, 102)
        assert replica.terminate() == 0
    messages = output.read()
    assert sorted(number_of(json.loads(one.value() or b"")) for one in messages) == [50, 60, 70, 80, 90, 110]
    [replayed] = [one for one in messages if headers_of(one)["original-offset"] == "101"]
    assert headers_of(replayed)[REPLAY_HEADER] == "run"
    assert REPLAY_FOR_HEADER not in headers_of(replayed), "what is sent is for every group"


def test_a_topic_that_comes_later_is_waited_for(broker: str, topics: Topics, output: Output, tmp_path: Path) -> None:
    late = Output(broker, f"{output.topic}-late")
    publish(broker, topics.records, [value(number) for number in range(10)], partition=0)
    with running(broker, topics, tmp_path) as replicas:
        replica = start(replicas, late)
        until(lambda: any(late.topic in line.get("error", "") for line in replica.lines), "it says what is missing")
        assert not committed(broker, GROUP, topics.records)
        admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        create_topics(admin, [NewTopic(late.topic, 1, 1)])
        until_done(broker, topics, 10)
        assert replica.terminate() == 0
    assert len(late.read(1)) == 10


def settings_of(broker: str, topics: Topics) -> KafkaSettings:
    return KafkaSettings(
        service_name="test",
        kafka_bootstrap_servers=broker,
        kafka_topic=topics.records,
        kafka_dead_letter_topic=topics.dead_letters,
    )


async def publisher_of(broker: str, topics: Topics, output: Output, partition: int = 0) -> TransactionalPublisher:
    return await TransactionalPublisher.start(
        settings_of(broker, topics), f"{GROUP}-{topics.records}-{partition}", [output.topic]
    )


async def test_a_predecessor_can_neither_send_nor_commit(broker: str, topics: Topics, output: Output) -> None:
    """Although the group itself would take its offsets: it is told of no generation."""
    record = Outgoing(output.topic, 0, b"key", b"value", [])

    def at(offset: int) -> GroupOffsets:
        return GroupOffsets(GROUP, topics.records, {0: offset})

    first = await publisher_of(broker, topics, output)
    assert await first.committed(GROUP, topics.records, 0) is None
    await first.publish([record], at(1))
    second = await publisher_of(broker, topics, output)
    assert await second.committed(GROUP, topics.records, 0) == 1
    with pytest.raises(Fenced):
        await first.publish([record], at(2))
    late = await publisher_of(broker, topics, output)
    with pytest.raises(Fenced):
        await second.publish([], at(9))
    assert await late.committed(GROUP, topics.records, 0) == 1
    await late.publish([], at(2))
    assert await late.committed(GROUP, topics.records, 0) == 2
    await late.close()
    assert len(output.read()) == 1


async def test_a_coordinator_that_is_none_is_not_taken_for_one_that_knows_nothing(
    broker: str, topics: Topics, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer names no partition, which looks like "never committed"; the next one has the offset."""
    publisher = await publisher_of(broker, topics, output)
    await publisher.publish([], GroupOffsets(GROUP, topics.records, {0: 7}))
    send = AIOKafkaClient.send
    refused: list[object] = []

    async def refuse_once(self: AIOKafkaClient, node: int, request: object, **options: object) -> object:
        answer = await send(self, node, request, **options)
        if isinstance(request, StableOffsetFetch) and not refused:
            refused.append(request)
            answer.topics, answer.error_code = [], NotCoordinatorError.errno
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", refuse_once)
    assert await publisher.committed(GROUP, topics.records, 0) == 7
    assert refused
    await publisher.close()


async def test_an_offset_that_a_transaction_may_commit_is_waited_for(
    broker: str, topics: Topics, output: Output
) -> None:
    """What was committed before is no answer while that is open. Who starts the name anew ends it first."""
    reader = await publisher_of(broker, topics, output, partition=1)

    async def ask() -> int | None:
        found = await committed_offsets(reader._client.client, GROUP, topics.records, [0])
        return found[0]

    async def begin(offset: int) -> TransactionalPublisher:
        publisher = await publisher_of(broker, topics, output)
        await publisher._client.begin_transaction()
        place = AioTopicPartition(topics.records, 0)
        await publisher._client.send_offsets_to_transaction({place: offset}, GROUP)
        return publisher

    first = await begin(7)
    asking = asyncio.create_task(ask())
    await asyncio.wait({asking}, timeout=1.0)
    assert not asking.done()
    await first._client.commit_transaction()
    async with asyncio.timeout(DEADLINE_S):
        assert await asking == 7
    second = await begin(9)
    heir = await publisher_of(broker, topics, output)
    assert await heir.committed(GROUP, topics.records, 0) == 7
    for publisher in (first, second, heir, reader):
        await publisher.close()


@pytest.mark.parametrize(("level", "numbers"), [("read_committed", [0, 3]), ("read_uncommitted", [0, 1, 2, 3, 4])])
def test_records_of_an_aborted_transaction_are_passed_over_and_leave_no_lag(
    broker: str, topics: Topics, tmp_path: Path, level: str, numbers: list[int]
) -> None:
    publish(broker, topics.records, [value(0)], partition=4)
    writer = Producer({"bootstrap.servers": broker, "transactional.id": f"aborting-{topics.records}"})
    writer.init_transactions(DEADLINE_S)
    for number in (1, 2):
        writer.begin_transaction()
        writer.produce(topics.records, value(number), partition=4)
        assert writer.flush(DEADLINE_S) == 0
        writer.abort_transaction(DEADLINE_S)
    publish(broker, topics.records, [value(3)], partition=4)
    writer.begin_transaction()
    writer.produce(topics.records, value(4), partition=4)
    assert writer.flush(DEADLINE_S) == 0
    writer.abort_transaction(DEADLINE_S)
    # Record, two aborted with a marker each, record, aborted, marker.
    end = 8
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("reader", {"KAFKA_ISOLATION_LEVEL": level})
        until(lambda: committed(broker, "reader", topics.records) == {4: end}, "all is committed")
        until(lambda: [line["lag_records"] for line in replica.events("progress")][-1:] == [0], "no lag is left")
        assert replica.terminate() == 0
    assert replica.numbers == numbers


class Assigned:
    """Hears of the partitions."""

    def __init__(self) -> None:
        self.partitions: asyncio.Queue[frozenset[int]] = asyncio.Queue()

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        """Nothing is in flight."""

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        self.partitions.put_nowait(partitions)


@pytest.mark.parametrize("topics", [1], indirect=True)
async def test_what_was_fetched_before_a_seek_is_not_returned_behind_it(broker: str, topics: Topics) -> None:
    """A sink that takes a while to resume gives a fetch the time to end with records from before."""
    publish(broker, topics.records, [value(number) for number in range(20)], partition=0)
    listener = Assigned()
    membership = Membership("seeking", "earliest", 10_000, 5_000)
    reader = await GroupReader.start(settings_of(broker, topics), membership, listener)
    try:
        assert await asyncio.wait_for(listener.partitions.get(), DEADLINE_S) == {0}
        reader._fetch = asyncio.create_task(reader._fetch_records(5, DEADLINE_S))
        await asyncio.wait({reader._fetch})
        reader.seek({0: 2})
        offsets: list[int] = []
        give_up_at = time.monotonic() + DEADLINE_S
        while len(offsets) < 18 and time.monotonic() < give_up_at:
            polled = await reader.poll(5, 0.5)
            offsets += [record.offset for batch in polled.batches for record in batch.records]
        assert offsets == [*range(2, 20)]
    finally:
        await reader.stop()
