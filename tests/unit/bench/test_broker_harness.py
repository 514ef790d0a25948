"""The harness of the comparison: who is asked, what is left behind, what is told of what does not work."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from bench.brokers import __main__ as program
from bench.brokers import asking, bounded, fresh
from bench.brokers.asking import FEW_KEYS, recovery
from bench.brokers.bounded import run_bounded
from bench.brokers.broker import Broker, BrokerLost, Candidate, Client, Durability, NotHere, Order, Topology
from bench.brokers.candidates import FILES, all_candidates, find_candidate
from bench.brokers.disk import Disk, file_system_of
from bench.brokers.fresh import processes
from bench.brokers.job import Job, Step
from bench.brokers.journal import Confirmation, Receipt
from bench.brokers.play import Happened, Outcome, Play
from bench.brokers.questions import FULL, QUICK, Ask, Question, make_questions
from bench.brokers.rounds import Rounds, asked
from bench.brokers.stage import Stage
from bench.brokers.sync_calls import SyncCalls, beyond_background, count_sync_calls, sum_of_calls
from bench.errors import BenchmarkFailed
from compose.errors import OperatorError

BROKERS = Path(asking.__file__).parent
NAMES = ("one", "two", "three")


@dataclass
class NoBroker:
    """A broker that only notes what is asked of it."""

    log: list[str]
    name: str
    fails: bool = False
    address: str = ""
    pid: int = 0
    pids: tuple[int, ...] = ()

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        if self.fails:
            raise BenchmarkFailed("it ended with 1\nand said more")

    def kill(self) -> None:
        self.log.append(f"kill {self.name}")

    def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        if self.fails:
            raise BenchmarkFailed("it did not stop")

    def disk_bytes(self) -> int:
        return 0

    def installed_bytes(self) -> int:
        return 0


def candidates_of(log: list[str], failing: str = "") -> list[Candidate]:
    def named(name: str) -> Candidate:
        def make(folder: Path) -> Broker:
            return NoBroker(log, name, name == failing)

        return replace(find_candidate("Kafka, default"), name=name, system=name, make_broker=make, how_to_get="get it")

    return [named(name) for name in NAMES]


def question(ask: Ask, *, repetitions: int = 1, at_once: bool = False) -> Question:
    return Question("key", "A title", "", [], [ask], repetitions, at_once=at_once)


@pytest.fixture
def no_stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, {}, {})


def rounds_of(stage: Stage, give_up_after_s: float = 60.0) -> Rounds:
    return Rounds(stage, candidates_of([]), lambda _told: None, 1, time.monotonic() + give_up_after_s)


def test_a_broker_that_does_not_start_is_absent_and_the_rest_go_on() -> None:
    log: list[str] = []
    with Stage.open(candidates_of(log, failing="two")) as stage:
        assert list(stage.brokers) == ["one", "three"]
        assert stage.absent == {"two": "get it (it ended with 1)"}
        assert stage.folder.is_dir()
    assert not stage.folder.exists()


def test_a_broker_whose_files_are_missing_is_absent(tmp_path: Path) -> None:
    def make(folder: Path) -> Broker:
        raise OperatorError("kafka.jar could not be downloaded: no network", "Check the network.")

    first, *rest = candidates_of([])
    with Stage.open([replace(first, make_broker=make), *rest]) as stage:
        assert stage.absent == {"one": "get it (kafka.jar could not be downloaded: no network)"}
        assert list(stage.brokers) == ["two", "three"]


@pytest.mark.parametrize("failing", NAMES)
def test_a_stop_that_fails_leaves_neither_the_others_nor_the_folder(failing: str) -> None:
    log: list[str] = []
    candidates = candidates_of(log)
    with Stage.open(candidates) as stage:
        broker = stage.brokers[failing]
        assert isinstance(broker, NoBroker)
        broker.fails = True
    assert sorted(entry for entry in log if entry.startswith("stop")) == sorted(f"stop {name}" for name in NAMES)
    assert [entry for entry in log if entry.startswith("kill")] == [f"kill {failing}"]
    assert not stage.folder.exists()


def test_a_broker_of_its_own_is_stopped_when_it_did_not_start(tmp_path: Path, no_stage: Stage) -> None:
    log: list[str] = []
    candidate = candidates_of(log)[0]

    def make(folder: Path) -> Broker:
        return NoBroker(log, "one", fails=True)

    with pytest.raises(BenchmarkFailed), no_stage.fresh_broker(replace(candidate, make_broker=make)):
        pass
    assert log == ["start one", "stop one", "kill one"]


def test_a_run_that_fails_is_told_by_its_kind_and_the_others_go_on(no_stage: Stage) -> None:
    def ask(stage: Stage, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
        if candidate.name == "two":
            raise BenchmarkFailed("a sentence with /a/path")
        return {"": {"figure": 1.0}}

    rounds = rounds_of(no_stage)
    rounds.ask([question(ask)])
    assert rounds.failures == ["A title: two: BenchmarkFailed"]
    assert sorted(sample.candidate for sample in rounds.samples) == ["one", "three"]


def test_what_the_machine_lacks_is_no_failure(no_stage: Stage) -> None:
    def ask(stage: Stage, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
        raise NotHere("there is no strace")

    rounds = rounds_of(no_stage)
    rounds.ask([question(ask)])
    assert (rounds.failures, rounds.unmeasured) == (
        [],
        {"key": dict.fromkeys(("one", "two", "three"), "there is no strace")},
    )


def test_runs_beyond_the_deadline_are_skipped_and_told(no_stage: Stage) -> None:
    def ask(stage: Stage, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
        return {"": {"figure": 1.0}}

    rounds = rounds_of(no_stage, give_up_after_s=-1.0)
    rounds.ask([question(ask)])
    assert sorted(rounds.failures) == sorted(f"A title: {name}: OutOfTime" for name in NAMES)
    assert rounds.samples == []


def test_all_at_once_has_as_many_rounds_as_in_turn(no_stage: Stage) -> None:
    def ask(stage: Stage, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
        return {"": {"figure": 1.0}}

    rounds = rounds_of(no_stage)
    rounds.ask([question(ask, repetitions=2, at_once=True)])
    assert sorted((sample.candidate, sample.round) for sample in rounds.samples) == sorted(
        (name, number) for name in NAMES for number in (0, 1)
    )


def test_the_order_of_a_round_is_that_of_the_seed(no_stage: Stage) -> None:
    def places(seed: int) -> list[tuple[str, int]]:
        def ask(stage: Stage, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
            return {"": {}}

        rounds = Rounds(no_stage, candidates_of([]), lambda _told: None, seed, time.monotonic() + 60.0)
        rounds.ask([question(ask, repetitions=5)])
        return [(sample.candidate, sample.place) for sample in rounds.samples]

    assert places(1) == places(1)
    assert places(1) != places(2)


def test_the_broker_that_is_killed_is_its_own_and_older_than_its_topology(
    no_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started in order after its queues were made, so that these are no matter of the last seconds."""
    log: list[str] = []
    happened = Happened(1_000_000_000, 1_100_000_000, 3_000_000_000)

    def prepare(candidate: Candidate, broker: Broker, play: Play) -> Topology:
        log.append("prepare")
        return Topology("made")

    def perform(candidate: Candidate, broker: Broker, topology: Topology, play: Play, folder: Path) -> Outcome:
        log.append(f"play {topology.name} {play.incident.name}")
        return Outcome([Confirmation(0, 0, 5_000_000_000)], [[[Receipt(0, 0, 6_000_000_000)]]], {}, happened)

    monkeypatch.setattr(asking, "prepare", prepare)
    monkeypatch.setattr(asking, "perform", perform)
    asking.kill_broker(no_stage, candidates_of(log)[0], 1.0)
    assert log == ["start one", "prepare", "stop one", "start one", "play made BROKER_KILLED", "stop one"]


def test_recovery_tells_the_broker_from_its_clients() -> None:
    """A confirmation that was still on its way when the broker died is not one of the new process."""
    confirmed = [Confirmation(number, 0, moment) for number, moment in enumerate((9, 101, 700, 900))]
    received = [Receipt(number, 0, moment) for number, moment in enumerate((10, 20, 820, 950))]
    second = 1_000_000_000
    outcome = Outcome(
        [one._replace(confirmed_ns=one.confirmed_ns * second) for one in confirmed],
        [[[one._replace(received_ns=one.received_ns * second) for one in received]]],
        {},
        Happened(100 * second, 102 * second, 500 * second),
    )
    found = recovery(outcome)
    assert (found["answers_again_s"], found["confirming_again_s"], found["silent_s"]) == (400.0, 600.0, 800.0)
    assert (found["lost"], found["doubled"], found["published"]) == (0, 0, 4)


def test_what_a_broker_syncs_with_nothing_to_do_is_not_counted() -> None:
    assert beyond_background(SyncCalls(100, 4.0), SyncCalls(10, 2.0)) == 80.0
    assert beyond_background(SyncCalls(1, 4.0), SyncCalls(10, 2.0)) == 0.0


def test_without_strace_its_figures_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHere, match="apt-get install strace"), count_sync_calls(1, tmp_path / "summary"):
        pass


def test_a_strace_that_cannot_attach_says_why_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strace = tmp_path / "strace"
    strace.write_text(f"#!{sys.executable}\nimport sys\nprint('attach: Operation not permitted', file=sys.stderr)\n")
    strace.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(NotHere, match=r"Operation not permitted.*SYS_PTRACE"),
        count_sync_calls(1, tmp_path / "summary"),
    ):
        pass


def test_the_calls_of_a_trace_are_added_up() -> None:
    table = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    0.111200         315       352           fdatasync
  1.00    0.000151         151         1         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.163253          46       353         1 total
"""
    assert sum_of_calls(table) == 353
    assert sum_of_calls("") == 0


def test_work_of_a_client_is_given_up_in_time() -> None:
    with pytest.raises(TimeoutError):
        run_bounded(asyncio.sleep(60.0), 0.01)
    assert run_bounded(asyncio.sleep(0.0, "done"), 60.0) == "done"


def test_what_a_client_raises_is_raised_as_it_is() -> None:
    async def refuse() -> None:
        raise BrokerLost("refused")

    with pytest.raises(BrokerLost, match="refused"):
        run_bounded(refuse(), 60.0)


def test_work_of_a_client_ends_when_the_program_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = threading.Event()
    ending.set()
    monkeypatch.setattr(bounded, "ENDING", ending)
    with pytest.raises(TimeoutError, match="to end"):
        run_bounded(asyncio.sleep(60.0), 60.0)


@pytest.mark.parametrize(("seconds", "held"), [(60.0, 5), (0.0, 0)])
def test_a_backlog_is_told_as_it_is_where_it_takes_too_long(
    seconds: float, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Filled:
        async def create(self, topology: Topology) -> None: ...

        async def create_group(self, topology: Topology, group: str) -> None: ...

        async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
            self.count = len(list(messages))

    client = Filled()
    monkeypatch.setattr(fresh, "FILL_S", seconds)
    assert run_bounded(fresh.fill_group(cast("Client", client), 5), 60.0) == held == client.count


def test_processes_are_counted_with_their_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            assert child.pid in {process.pid for process in processes([os.getpid()])}
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("order", "workers", "logs"), [(Order.NONE, 4, 4), (Order.KEYED, 4, 4), (Order.TOTAL, 4, 1), (Order.NONE, 1, 1)]
)
def test_logs_are_as_many_as_workers_and_one_for_total_order(order: Order, workers: int, logs: int) -> None:
    """The same for every broker that shares by log."""
    assert Topology("name", workers, order).log_count == logs


def test_a_job_survives_its_way_to_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology("name", 4, Order.KEYED)
    job = Job("Kafka, default", "address", topology, tmp_path, [Step(5, 1.0)], "group", 1, 4.0, FEW_KEYS)
    for name, value in job.environment().items():
        monkeypatch.setenv(name, value)
    assert Job.from_environment() == job


def test_a_quick_comparison_asks_less_and_one_mode_where_that_is_long() -> None:
    candidates = all_candidates()
    quick = {question.key: question for question in make_questions(quick=True)}
    assert [one.system for one in asked(quick["broker-killed"], candidates)] == [
        "Kafka",
        "RabbitMQ streams",
        "ActiveMQ",
    ]
    assert len(asked(quick["workers"], candidates)) == 5
    assert len(asked(quick["throughput"], candidates)) == 7
    assert QUICK.fewest_rounds == 1 < FULL.fewest_rounds


def test_quick_figures_are_not_published(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("QUICK", "WRITE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", ["bench.brokers"])
    with pytest.raises(SystemExit):
        program.main()
    assert "too coarse to be published" in capsys.readouterr().err


def test_an_fsync_in_memory_is_not_measured() -> None:
    candidates = all_candidates()
    versions = {candidate.name: "1" for candidate in candidates}
    assert program.absent_before(candidates, versions, Disk("ext4", 1.0)) == {}
    absent = program.absent_before(candidates, versions, Disk("tmpfs", 0.0))
    assert set(absent) == {one.name for one in candidates if one.durability is Durability.DISK}
    assert all("set TMPDIR" in reason for reason in absent.values())


def test_the_file_system_is_that_of_the_nearest_mount_point() -> None:
    mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp xfs rw 0 0\ntmpfs /tmp/in tmpfs rw 0 0\n"
    assert file_system_of(Path("/tmp/comparison"), mounts) == "xfs"
    assert file_system_of(Path("/tmp/in/side"), mounts) == "tmpfs"
    assert file_system_of(Path("/var/tmp"), mounts) == "ext4"
    assert file_system_of(Path("/var/tmp"), "") == "unknown"


def imported_by(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def test_no_file_of_the_harness_imports_one_of_a_broker() -> None:
    """`candidates` loads them by name, and they may import each other."""
    of_brokers = {*FILES.values(), "rabbitmq", "java"}
    names = {f"bench.brokers.{name}" for name in of_brokers}
    paths = [path for path in BROKERS.glob("*.py") if path.stem not in of_brokers]
    assert len(paths) > 20
    for path in paths:
        assert not imported_by(path) & names, path.name


def test_questions_name_no_broker() -> None:
    text = (BROKERS / "questions.py").read_text() + (BROKERS / "asking.py").read_text()
    for name in ("Kafka", "Rabbit", "ActiveMQ", "SNS", "SQS", "JMS"):
        assert name not in text
