"""The programs that publish and consume, and what the clients of brokers do without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from aiokafka import TopicPartition
from rstream import ConfirmationStatus, RawMessage

from bench.brokers import behaviour, rabbitmq_streams
from bench.brokers.bounded import run_bounded
from bench.brokers.broker import IN_FLIGHT, BrokerLost, Client, Order, Topology
from bench.brokers.consuming import slowness
from bench.brokers.job import Step
from bench.brokers.journal import Confirmation, Journal, read_journal
from bench.brokers.kafka import DEFAULTS, KafkaConsumer
from bench.brokers.messages import number_and_due
from bench.brokers.publishing import due_moments, publish_all
from bench.brokers.rabbitmq import find_home
from bench.brokers.rabbitmq_streams import StreamPublisher
from compose.local.broker import Ports, server_properties

MS = 1_000_000


@dataclass
class NotedPublisher:
    """Confirms after a while; notes each call with its moment."""

    takes_s: float = 0.0
    failing_once: set[int] = field(default_factory=set)
    calls: list[tuple[int, int, int]] = field(default_factory=list)
    """Number, due, called."""
    under_way: int = 0
    most_under_way: int = 0

    async def publish(self, key: bytes, value: bytes) -> None:
        number, due_ns = number_and_due(value)
        self.calls.append((number, due_ns, time.monotonic_ns()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.takes_s)
        self.under_way -= 1
        if number in self.failing_once:
            self.failing_once.remove(number)
            raise BrokerLost("once")


def publish(publisher: NotedPublisher, path: Path, make_due: Callable[[int], Any]) -> list[Confirmation]:
    async def run() -> None:
        await publish_all(publisher, make_due(time.monotonic_ns()), Journal(path))

    uvloop.run(run())
    return read_journal(path, Confirmation)


def test_messages_are_due_at_the_rate_of_each_step() -> None:
    due = list(due_moments([Step(100, 0.02), Step(1_000, 0.003)], 7))
    assert due == [(0, 7), (1, 10 * MS + 7), (2, 20 * MS + 7), (3, 21 * MS + 7), (4, 22 * MS + 7)]


def test_at_the_highest_rate_a_message_is_due_when_it_is_asked_for() -> None:
    begun_ns = time.monotonic_ns()
    moments = due_moments([Step(0, 60.0)], begun_ns)
    time.sleep(0.002)
    number, due_ns = next(moments)
    assert number == 0
    assert begun_ns + 2 * MS <= due_ns <= time.monotonic_ns()
    assert list(due_moments([Step(0, 0.0)], begun_ns)) == []


def test_no_message_is_handed_over_before_it_is_due(tmp_path: Path) -> None:
    """Nor out of order. uvloop rounds a sleep to whole milliseconds, so the moments lie between these."""
    publisher = NotedPublisher()
    between_ns = 54 * MS // 10
    publish(
        publisher,
        tmp_path / "journal",
        lambda now_ns: ((number, now_ns + number * between_ns) for number in range(60)),
    )
    assert len(publisher.calls) == 60
    assert all(called_ns >= due_ns for _number, due_ns, called_ns in publisher.calls)
    assert all(one[0] < other[0] for one, other in pairwise(publisher.calls))


def test_what_waits_for_its_confirmation_is_bounded(tmp_path: Path) -> None:
    publisher = NotedPublisher(takes_s=0.005)
    confirmed = publish(publisher, tmp_path / "journal", lambda now_ns: ((number, now_ns) for number in range(450)))
    assert sorted(one.number for one in confirmed) == list(range(450))
    assert publisher.most_under_way == IN_FLIGHT


def test_what_was_not_confirmed_is_published_again(tmp_path: Path) -> None:
    publisher = NotedPublisher(failing_once={1})
    confirmed = publish(publisher, tmp_path / "journal", lambda now_ns: ((number, now_ns) for number in range(3)))
    assert sorted(number for number, _due, _called in publisher.calls) == [0, 1, 1, 2]
    assert sorted(one.number for one in confirmed) == [0, 1, 2]


def test_what_a_broker_refuses_just_after_its_start_is_published_again() -> None:
    """In the questions about behaviour too."""
    publisher = NotedPublisher(failing_once={0, 2})

    class OfOne:
        @asynccontextmanager
        async def publisher(self, topology: Topology) -> AsyncIterator[NotedPublisher]:
            yield publisher

    run_bounded(behaviour.publish_all(cast("Client", OfOne()), Topology("name"), 3), 5.0)
    assert sorted(number for number, _due, _called in publisher.calls) == [0, 0, 1, 2, 2]


def test_handling_takes_one_on_average_and_much_longer_for_a_few() -> None:
    """By chance: each of several workers in turn gets slow ones."""
    found = [slowness(number) for number in range(16_000)]
    assert sum(found) / len(found) == pytest.approx(1.0, abs=0.05)
    assert set(found) == {0.5, 8.5}
    assert all(8.5 in found[worker::4] for worker in range(4))


@dataclass
class NotedProducer:
    """Confirms at once."""

    sent: dict[str, list[int]] = field(default_factory=dict)

    async def send_batch(
        self,
        stream: str,
        messages: Sequence[RawMessage],
        on_publish_confirm: Callable[[ConfirmationStatus], None],
    ) -> None:
        self.sent.setdefault(stream, []).extend(message.publishing_id or 0 for message in messages)
        for message in messages:
            on_publish_confirm(ConfirmationStatus(message.publishing_id or 0, is_confirmed=True))

    async def close(self) -> None: ...


@pytest.mark.parametrize("order", [Order.NONE, Order.KEYED])
async def test_streams_are_taken_in_turn_or_by_key(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each message is sent before the next one comes."""
    producer = NotedProducer()

    async def open_producer(port: int, on_closed: object = None) -> NotedProducer:
        return producer

    monkeypatch.setattr(rabbitmq_streams, "open_producer", open_producer)
    publisher = StreamPublisher(0, Topology("play", 4, order))
    running = asyncio.create_task(publisher.run())
    try:
        for _ in range(100):
            await asyncio.wait_for(publisher.publish(b"192.0.2.7", b""), 5.0)
    finally:
        running.cancel()
        await asyncio.wait([running])
    counts = sorted(len(ids) for ids in producer.sent.values())
    assert counts == ([25] * 4 if order is Order.NONE else [100])
    ids = [number for each in producer.sent.values() for number in each]
    assert len(set(ids)) == 100


@dataclass
class NotedMember:
    """Of a group; a commit is over when it is let go."""

    assigned: set[TopicPartition]
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    committed: list[Mapping[TopicPartition, int]] = field(default_factory=list)
    to_come: list[dict[TopicPartition, list[Any]]] = field(default_factory=list)

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        return self.to_come.pop(0)

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def stop(self) -> None: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.append(dict(offsets))
        await self.let_go.wait()


@dataclass
class Record:
    offset: int
    value: bytes = b""


async def test_commits_go_on_in_the_background_and_the_newest_position_wins() -> None:
    """What was received and not acknowledged is in none of them; nor is a partition that another worker has."""
    kept, lost = TopicPartition("topic", 0), TopicPartition("topic", 1)
    member = NotedMember({kept})
    member.to_come = [
        {kept: [Record(4)], lost: [Record(8)]},
        {kept: [Record(5)]},
        {kept: [Record(6)]},
        {kept: [Record(7)]},
    ]
    consumer = KafkaConsumer(member)
    for _ in range(3):
        await consumer.receive()
        await consumer.acknowledge()
        await asyncio.sleep(0)
    await consumer.receive()
    assert member.committed == [{kept: 5}]
    member.let_go.set()
    await consumer.close()
    assert member.committed == [{kept: 5}, {kept: 7}]


def test_the_node_of_the_comparison_has_the_defaults_of_kafka(tmp_path: Path) -> None:
    """That of the tests forgets a killed node sooner."""
    settings = server_properties(tmp_path, Ports(1, 2), DEFAULTS)
    assert settings["broker.session.timeout.ms"] == "9000"
    assert settings["broker.heartbeat.interval.ms"] == "2000"


def test_the_highest_version_of_rabbitmq_is_taken(tmp_path: Path) -> None:
    """By number, wherever it lies; a folder without a server is none."""
    assert find_home([tmp_path]) is None
    for name in ("a/rabbitmq/lib/rabbitmq_server-3.9.11", "a/rabbitmq/lib/rabbitmq_server-3.10.8"):
        (tmp_path / name / "sbin").mkdir(parents=True)
        (tmp_path / name / "sbin" / "rabbitmq-server").touch()
    (tmp_path / "b" / "rabbitmq_server-4.1.0" / "sbin").mkdir(parents=True)
    roots = [tmp_path / "a", tmp_path / "b"]
    assert find_home(roots) == tmp_path / "a/rabbitmq/lib/rabbitmq_server-3.10.8"
    (tmp_path / "b" / "rabbitmq_server-4.1.0" / "sbin" / "rabbitmq-server").touch()
    assert find_home(roots) == tmp_path / "b/rabbitmq_server-4.1.0"
