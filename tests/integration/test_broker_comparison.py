"""Every broker of the comparison keeps the Protocol that the harness relies on.

One that cannot be started here is skipped with the way to get it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.brokers.asking import FEW_KEYS, HANDLING_MS
from bench.brokers.behaviour import behaviour_of, publish_all, read
from bench.brokers.bounded import PUBLISH_TIMEOUT_S, run_bounded
from bench.brokers.broker import Broker, Candidate, NotHere, NotOffered, Order, Topology
from bench.brokers.candidates import FILES, find_candidate
from bench.brokers.fresh import processes
from bench.brokers.job import Step
from bench.brokers.journal import Account, account
from bench.brokers.play import Incident, Play, perform, prepare
from bench.brokers.sync_calls import count_sync_calls
from tests.integration.consumer_driver import until

ROOT = Path(__file__).parents[2]
COUNT = 40
END_TIMEOUT_S = 120.0
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
    assert found.late_ordered == 0


def test_what_runs_and_is_installed_is_found(started: Started) -> None:
    candidate, broker = started
    running = processes(broker.pids)
    assert broker.pid in {process.pid for process in running}
    assert all(process.is_running() for process in running)
    assert broker.installed_bytes() > (1e6 if candidate.is_mock else 50e6)


def test_order_is_kept_by_its_means(started: Started, tmp_path: Path) -> None:
    """Of all messages, or of those of a key, by four workers that take their time; without these means it is not."""
    candidate, broker = started
    if candidate.is_mock:
        pytest.skip("a mock is no place for processes that read as fast as they can; its order is asked with the rest")

    def found_with(order: Order) -> Account:
        play = Play([Step(1_000, 0.8)], workers=4, order=order, handling_ms=HANDLING_MS, key_count=FEW_KEYS)
        folder = tmp_path / order.value
        folder.mkdir()
        outcome = perform(candidate, broker, prepare(candidate, broker, play), play, folder)
        return account(outcome.confirmations, outcome.receipts[0], FEW_KEYS)

    plain, keyed, total = (found_with(order) for order in (Order.NONE, Order.KEYED, Order.TOTAL))
    assert [each.lost for each in (plain, keyed, total)] == [0, 0, 0]
    assert plain.late_within_key > 0
    assert keyed.late_within_key == 0
    assert total.late == 0
    assert min(keyed.shares) > 0


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
    run_bounded(publish_all(client, topology, COUNT), PUBLISH_TIMEOUT_S)
    broker.kill()
    broker.start()
    assert sorted(set(asyncio.run(read_all()))) == list(range(COUNT))


@pytest.mark.parametrize("incident", [Incident.BROKER_KILLED, Incident.WORKER_KILLED])
def test_programs_go_on_after_an_incident(started: Started, incident: Incident, tmp_path: Path) -> None:
    """Publisher and workers connect again by themselves, and nothing that was confirmed is lost."""
    candidate, broker = started
    if candidate.is_mock:
        pytest.skip("a mock keeps nothing on disk")
    play = Play([Step(100, 2.0)], workers=2, incident=incident)
    topology = prepare(candidate, broker, play)
    broker.stop()
    broker.start()
    broker_before = broker.pid
    outcome = perform(candidate, broker, topology, play, tmp_path)
    found = account(outcome.confirmations, outcome.receipts[0])
    assert len(outcome.confirmations) == 200
    assert found.lost == 0
    # Somebody died: the broker is another process, or the worker was started a second time.
    assert (broker.pid != broker_before) == (incident is Incident.BROKER_KILLED)
    assert (tmp_path / "group-0-0-again" / "ready").exists() == (incident is Incident.WORKER_KILLED)
    assert outcome.happened is not None
    assert outcome.happened.killed_ns < outcome.happened.gone_ns < outcome.happened.answered_ns


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


def test_strace_counts_what_is_synced_while_it_looks(tmp_path: Path) -> None:
    """And nothing that was synced before or is synced afterwards."""
    program = (
        "import os, sys\nfor line in sys.stdin:\n  os.fsync(os.open(line.strip(), os.O_CREAT))\n  print(flush=True)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        words, answers = child.stdin, child.stdout
        assert words is not None
        assert answers is not None

        def sync(times: int) -> None:
            for _ in range(times):
                print(tmp_path / "file", file=words, flush=True)
                answers.readline()

        sync(3)
        try:
            with count_sync_calls(child.pid, tmp_path / "trace") as found:
                sync(5)
        except NotHere as lacking:
            pytest.skip(str(lacking))
        sync(2)
        words.close()
    assert found.count == 5
    assert found.window_s > 0


def test_nothing_is_left_after_sigterm(tmp_path: Path) -> None:
    """No broker, no port mapper, no folder; while the brokers start, which is when most is under way."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "QUICK": "1", "WRITE": ""}
    command = [sys.executable, "-m", "bench.brokers"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as comparison:
        started: list[psutil.Process] = []

        def some_run() -> bool:
            started[:] = processes([comparison.pid])[1:]
            return len(started) >= 4

        until(some_run, "four brokers are being started")
        comparison.send_signal(signal.SIGTERM)
        assert comparison.wait(END_TIMEOUT_S) == 128 + signal.SIGTERM
    assert not [process for process in started if process.is_running()]
    assert not [process for process in psutil.process_iter(["cmdline", "cwd"]) if _names(process, tmp_path)]
    assert list(tmp_path.iterdir()) == []


def _names(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in (*(process.info["cmdline"] or ()), process.info["cwd"] or ""))
