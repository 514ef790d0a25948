"""Every broker of the comparison keeps the Protocol that the harness relies on.

One that cannot be started here is skipped with the way to get it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.brokers.behaviour import behaviour_of, publish_all, read
from bench.brokers.broker import Broker, Candidate, NotOffered, Order, Topology
from bench.brokers.candidates import FILES, find_candidate
from bench.brokers.job import Step
from bench.brokers.journal import account
from bench.brokers.play import Incident, Play, perform

COUNT = 40
LOGS = ("Kafka", "RabbitMQ streams")
"""Systems that keep what was read."""

pytestmark = pytest.mark.xdist_group("broker-comparison")
Started = tuple[Candidate, Broker]


@pytest.fixture(scope="module", params=FILES)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A candidate with its broker."""
    candidate = find_candidate(request.param)
    if candidate.find_version() is None:
        pytest.skip(f"{candidate.name} cannot be started here; {candidate.how_to_get}")
    broker = candidate.make_broker(tmp_path_factory.mktemp("broker") / "data")
    try:
        broker.start()
        yield candidate, broker
    finally:
        broker.stop()


def test_behaviour(started: Started) -> None:
    """Each group gets everything, workers share it, history is for logs alone, nothing taken is lost."""
    candidate, broker = started
    found = asyncio.run(behaviour_of(candidate.make_client(broker.address), COUNT))
    assert found.each_of_two_groups == COUNT
    assert 0 < found.smaller_share < COUNT
    history = COUNT if candidate.system in LOGS else 0
    assert (found.late_group, found.replayed) == (history, history)
    assert found.redelivered == found.taken > 0


def test_order_is_kept_by_its_means(started: Started) -> None:
    """All messages of one key, and with total order all messages, come as they were published."""
    candidate, broker = started
    client = candidate.make_client(broker.address)

    async def numbers_in(order: Order) -> list[int]:
        topology = Topology(f"order-{uuid.uuid4().hex[:8]}", 1, order)
        await client.create(topology)
        await client.create_group(topology, "group")
        async with client.publisher(topology) as publisher, client.consumer(topology, "group", 0) as worker:
            for number in range(COUNT):
                await publisher.publish(b"192.0.2.7", b"%08x%016x" % (number, 0))
            return await read(worker)

    for order in (Order.KEYED, Order.TOTAL):
        assert asyncio.run(numbers_in(order)) == list(range(COUNT)), order


def test_what_was_confirmed_outlives_sigkill(started: Started) -> None:
    """At either level of durability: the page cache is the kernel's.

    The queues are older than the last start in order: one that RabbitMQ 3.10 made moments before a SIGKILL, a quorum
    queue above all, may not come back (seen), which is a matter of its metadata and not of confirmed messages.
    """
    candidate, broker = started
    if candidate.is_mock:
        pytest.skip("a mock keeps nothing on disk")
    client = candidate.make_client(broker.address)
    topology = Topology(f"kill-{uuid.uuid4().hex[:8]}")

    async def create() -> None:
        await client.create(topology)
        await client.create_group(topology, "group")

    async def read_all() -> list[int]:
        async with client.consumer(topology, "group", 0) as worker:
            return await read(worker)

    asyncio.run(create())
    broker.stop()
    broker.start()
    asyncio.run(publish_all(client, topology, COUNT))
    broker.kill()
    broker.start()
    assert sorted(set(asyncio.run(read_all()))) == list(range(COUNT))


@pytest.mark.parametrize("incident", [Incident.BROKER_KILLED, Incident.WORKER_KILLED])
def test_programs_go_on_after_an_incident(started: Started, incident: Incident, tmp_path: Path) -> None:
    """Publisher and workers connect again by themselves, and nothing that was confirmed is lost."""
    candidate, broker = started
    if candidate.is_mock:
        pytest.skip("a mock keeps nothing on disk")
    outcome = perform(candidate, broker, Play([Step(100, 2.0)], workers=2, incident=incident), tmp_path)
    found = account(outcome.confirmations, outcome.receipts[0])
    assert len(outcome.confirmations) == 200
    assert found.lost == 0


def test_a_backlog_is_whole_when_it_is_filled(started: Started) -> None:
    candidate, broker = started
    client = candidate.make_client(broker.address)

    async def fill_and_read() -> list[int]:
        topology = Topology(f"fill-{uuid.uuid4().hex[:8]}")
        await client.create(topology)
        await client.create_group(topology, "group")
        values = ((b"key", b"%08x%016x" % (number, 0)) for number in range(COUNT))
        await client.fill(topology, "group", values)
        async with client.consumer(topology, "group", 0) as worker:
            return await read(worker)

    assert sorted(set(asyncio.run(fill_and_read()))) == list(range(COUNT))


def test_replay_is_refused_where_it_does_not_exist(started: Started) -> None:
    candidate, broker = started
    if candidate.system in LOGS:
        pytest.skip("a log can be read again")

    async def replay() -> None:
        async with candidate.make_client(broker.address).consumer(Topology("none"), "group", 0, replay=True):
            pass

    with pytest.raises(NotOffered):
        asyncio.run(replay())
