"""A quick comparison does what its document says of brokers, and each broker keeps the Protocol of the harness.

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

from bench.brokers.__main__ import QUICK_SAMPLES_FILE
from bench.brokers.behaviour import read
from bench.brokers.broker import Broker, Candidate, NotHere, NotOffered, Topology
from bench.brokers.candidates import all_candidates, find_candidate
from bench.brokers.facts import ACTIVE, CLASSIC, KAFKA, MOCK, QUORUM, STREAMS
from bench.brokers.fresh import processes
from bench.brokers.job import Step
from bench.brokers.journal import account
from bench.brokers.play import Incident, Play, perform, prepare
from bench.brokers.questions import make_questions
from bench.brokers.rounds import asked
from bench.brokers.samples import Comparison, read_comparison
from bench.brokers.sync_calls import count_sync_calls
from tests.integration.consumer_driver import until

ROOT = Path(__file__).parents[2]
COUNT = 40
QUICK_TIMEOUT_S = 600.0
END_TIMEOUT_S = 120.0
LOGS = ("Kafka", "RabbitMQ streams")
"""Systems that keep what was read."""
SYSTEMS = (KAFKA, CLASSIC, ACTIVE, MOCK)
DIFFERENT = (KAFKA, STREAMS, CLASSIC, QUORUM, ACTIVE, MOCK)
"""The other modes differ in a setting of the broker alone."""

pytestmark = pytest.mark.xdist_group("broker-comparison")
Started = tuple[Candidate, Broker]


@pytest.fixture(scope="module")
def quick() -> Comparison:
    """A whole one, of all candidates."""
    command = [sys.executable, "-m", "bench.brokers", "--quick"]
    environment = {name: value for name, value in os.environ.items() if name not in ("QUICK", "WRITE")}
    QUICK_SAMPLES_FILE.unlink(missing_ok=True)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=QUICK_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_comparison(QUICK_SAMPLES_FILE.read_text())


def figures(comparison: Comparison, question: str, candidate: str, variant: str = "") -> dict[str, float]:
    """Of one round."""
    [found] = [
        sample.figures
        for sample in comparison.samples
        if (sample.question, sample.candidate, sample.variant) == (question, candidate, variant)
    ]
    return dict(found)


def test_every_question_is_answered_for_every_broker_that_is_here(quick: Comparison) -> None:
    """And who is not here is told."""
    candidates = all_candidates()
    assert {*quick.versions, *quick.absent} == {candidate.name for candidate in candidates}
    here = [candidate for candidate in candidates if candidate.name in quick.versions]
    found = {(sample.question, sample.candidate) for sample in quick.samples}
    for question in make_questions(quick=True):
        assert {(question.key, candidate.name) for candidate in asked(question, here)} <= found


@pytest.mark.parametrize("name", DIFFERENT)
def test_behaviour(quick: Comparison, name: str) -> None:
    """Each group gets everything, workers share it, history is for logs alone, nothing taken is lost."""
    if name in quick.absent:
        pytest.skip(f"{name} cannot be started here; {quick.absent[name]}")
    found = figures(quick, "behaviour", name)
    count = found["published"]
    assert found["each_of_two_groups"] == count > 0
    assert 0 < found["smaller_share"] < count
    history = count if find_candidate(name).system in LOGS else 0
    assert (found["late_group"], found["replayed"]) == (history, history)
    assert found["redelivered"] == found["taken"] > 0
    assert found["late_ordered"] == 0


def test_messages_of_a_key_stay_in_order_by_its_means_and_not_without(quick: Comparison) -> None:
    """Among workers that take their time."""
    answered = {sample.candidate for sample in quick.samples if sample.question == "workers"}
    plain, keyed = (
        [figures(quick, "workers", name, f"2, {order}") for name in sorted(answered)] for order in ("plain", "keyed")
    )
    assert [one["late_within_key_percent"] for one in keyed] == [0] * len(answered)
    # So few messages may happen to stay in order at one broker, and hardly at all of them.
    assert any(one["late_within_key_percent"] > 0 for one in plain)
    assert all(one["smallest_share_percent"] > 0 for one in keyed)


def test_nothing_that_was_confirmed_is_lost_with_a_killed_broker(quick: Comparison) -> None:
    """At either level of durability: the page cache is the kernel's. But for ActiveMQ, which confirms before it."""
    killed = [sample for sample in quick.samples if sample.question == "broker-killed"]
    found = [sample.figures for sample in killed if sample.candidate != ACTIVE]
    assert found
    assert [one["lost"] for one in found] == [0] * len(found)
    assert all(one["answers_again_s"] > 0 and one["published"] > 0 for one in found)


@pytest.fixture(scope="module", params=SYSTEMS)
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


def test_what_runs_and_is_installed_is_found(started: Started) -> None:
    candidate, broker = started
    running = processes(broker.pids)
    assert broker.pid in {process.pid for process in running}
    assert all(process.is_running() for process in running)
    assert broker.installed_bytes() > (1e6 if candidate.is_mock else 50e6)


@pytest.mark.parametrize("started", [KAFKA], indirect=True)
def test_a_group_goes_on_after_a_worker_was_killed(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick comparison kills brokers. Where messages seem to be missing, workers are started anew."""
    monkeypatch.setattr("bench.brokers.play.QUIET_S", 1.0)
    monkeypatch.setattr("bench.brokers.play._all_there", lambda _cast, _confirmed: False)
    candidate, broker = started
    play = Play([Step(100, 2.0)], workers=2, incident=Incident.WORKER_KILLED)
    outcome = perform(candidate, broker, prepare(candidate, broker, play), play, tmp_path)
    found = account(outcome.confirmations, outcome.receipts[0])
    assert len(outcome.confirmations) == 200
    assert found.lost == 0
    for name in ("group-0-0-again", "group-0-0-anew", "group-0-1-anew"):
        assert (tmp_path / name / "ready").exists()
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


@pytest.mark.parametrize("started", [CLASSIC, ACTIVE, MOCK], indirect=True)
def test_replay_is_refused_where_it_does_not_exist(started: Started) -> None:
    candidate, broker = started

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
