"""One run: programs that publish and consume against a broker, and what may happen to it meanwhile."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from bench.brokers.bounded import TOPOLOGY_TIMEOUT_S, run_bounded
from bench.brokers.broker import FEW_AHEAD, IN_FLIGHT, Broker, Candidate, Order, Topology
from bench.brokers.job import Job, Step
from bench.brokers.journal import LINE_BYTES, Confirmation, Receipt, read_journal
from bench.brokers.messages import RECORD_COUNT
from bench.child import Child, Meter
from bench.contender import Figures

log = logging.getLogger(__name__)

PUBLISHING, CONSUMING = "bench.brokers.publishing", "bench.brokers.consuming"
READY_TIMEOUT_S = 60.0
LATE_TIMEOUT_S = 120.0
"""Beyond the time that the steps take."""
QUIET_S = 15.0
"""What has not come after so long without anything new is lost."""
LOOK_INTERVAL_S = 0.02
AWAY_S = 1.0
"""After so long a killed worker is started again."""


class Incident(Enum):
    """In the middle of the publishing."""

    NONE = auto()
    BROKER_KILLED = auto()
    WORKER_KILLED = auto()


@dataclass(frozen=True, slots=True)
class Play:
    """`groups` groups of `workers` workers each read what is published step by step."""

    steps: Sequence[Step]
    groups: int = 1
    workers: int = 1
    order: Order = Order.NONE
    handling_ms: float = 0.0
    incident: Incident = Incident.NONE
    key_count: int = RECORD_COUNT


@dataclass(frozen=True, slots=True)
class Happened:
    """The moments of an incident, by the monotonic clock."""

    killed_ns: int
    """SIGKILL is sent."""
    gone_ns: int
    """The process is gone, and is started again: at once for a broker, after AWAY_S for a worker."""
    answered_ns: int
    """The new process answers, or is ready."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`used` is empty after an incident: what was to be measured died."""

    confirmations: Sequence[Confirmation]
    receipts: Sequence[Sequence[Sequence[Receipt]]]
    """By group, by worker."""
    used: Figures
    happened: Happened | None


@dataclass
class Cast:
    """The programs of a run, each in a folder of its own."""

    candidate: Candidate
    broker: Broker
    topology: Topology
    play: Play
    folder: Path
    stack: ExitStack
    publisher: tuple[Child, Job] = field(init=False)
    workers: dict[tuple[int, int], list[tuple[Child, Job]]] = field(default_factory=dict)

    def start(self) -> None:
        """All at once; return when all are ready."""
        for group in range(self.play.groups):
            for worker in range(self.play.workers):
                self.workers[group, worker] = [self.start_worker(group, worker)]
        self.publisher = self._start(PUBLISHING, "publisher", steps=tuple(self.play.steps))
        for child, job in [*(each[0] for each in self.workers.values()), self.publisher]:
            child.wait_until(job.ready.exists, "its connection", READY_TIMEOUT_S)

    def start_worker(self, group: int, worker: int, again: str = "") -> tuple[Child, Job]:
        name = f"group-{group}"
        return self._start(
            CONSUMING, f"{name}-{worker}{again}", group=name, worker=worker, handling_ms=self.play.handling_ms
        )

    def _start(
        self,
        module: str,
        name: str,
        steps: Sequence[Step] = (),
        group: str = "",
        worker: int = 0,
        handling_ms: float = 0.0,
    ) -> tuple[Child, Job]:
        folder = self.folder / name
        folder.mkdir()
        job = Job(
            self.candidate.name,
            self.broker.address,
            self.topology,
            folder,
            steps,
            group,
            worker,
            handling_ms,
            self.play.key_count,
        )
        return self.stack.enter_context(Child.start(module, job.environment(), folder)), job

    @property
    def pids(self) -> list[int]:
        return [self.publisher[0].pid, *(child.pid for each in self.workers.values() for child, _job in each)]

    def receipts(self) -> list[list[list[Receipt]]]:
        """By group, by worker; a worker that was started again is still the same."""
        return [
            [
                [
                    receipt
                    for _child, job in self.workers[group, worker]
                    for receipt in read_journal(job.journal, Receipt)
                ]
                for worker in range(self.play.workers)
            ]
            for group in range(self.play.groups)
        ]

    def start_workers_anew(self) -> None:
        """Each behind the one that is there, which is ended."""
        for (group, worker), each in self.workers.items():
            each[-1][0].terminate()
            each.append(self.start_worker(group, worker, again="-anew"))
        for child, job in (each[-1] for each in self.workers.values()):
            child.wait_until(job.ready.exists, "its connection", READY_TIMEOUT_S)

    def receipt_bytes(self) -> int:
        journals = [job.journal for each in self.workers.values() for _child, job in each]
        return sum(journal.stat().st_size for journal in journals if journal.exists())

    def terminate(self) -> None:
        for child, _job in [self.publisher, *(each[-1] for each in self.workers.values())]:
            child.terminate()


def prepare(candidate: Candidate, broker: Broker, play: Play) -> Topology:
    """What is published to and read from, made for one run. Raises TimeoutError."""
    prefetch = FEW_AHEAD if play.handling_ms else IN_FLIGHT
    topology = Topology(f"play-{uuid.uuid4().hex[:8]}", play.workers, play.order, prefetch)
    run_bounded(_create(candidate, broker, topology, play.groups), TOPOLOGY_TIMEOUT_S)
    return topology


def perform(
    candidate: Candidate,
    broker: Broker,
    topology: Topology,
    play: Play,
    folder: Path,
    watching: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Outcome:
    """Run it in an empty folder; `watching` is open while messages are published and confirmed, and no longer.

    Raises BenchmarkFailed when something did not do its work.
    """
    with ExitStack() as stack:
        cast = Cast(candidate, broker, topology, play, folder, stack)
        cast.start()
        child, job = cast.publisher
        with watching():
            meter = Meter(broker.pid, *cast.pids)
            job.go.touch()
            happened = _make_happen(cast)
            duration_s = sum(step.duration_s for step in play.steps)
            child.wait_until(job.done.exists, "every confirmation", duration_s + LATE_TIMEOUT_S)
        confirmations = read_journal(job.journal, Confirmation)
        numbers = {confirmation.number for confirmation in confirmations}
        _wait_for_receipts(cast, numbers)
        if play.incident is not Incident.NONE and not _all_there(cast, numbers):
            # A worker that an incident leaves stuck has lost nothing.
            log.warning("%s, %s: workers are started anew", candidate.name, play.incident.name)
            cast.start_workers_anew()
            _wait_for_receipts(cast, numbers)
        used = meter.stop() if play.incident is Incident.NONE else {}
        cast.terminate()
        return Outcome(confirmations, cast.receipts(), used, happened)


async def _create(candidate: Candidate, broker: Broker, topology: Topology, group_count: int) -> None:
    client = candidate.make_client(broker.address)
    await client.create(topology)
    for group in range(group_count):
        await client.create_group(topology, f"group-{group}")


def _make_happen(cast: Cast) -> Happened | None:
    """Return when it was done; None when nothing is to happen."""
    if cast.play.incident is Incident.NONE:
        return None
    time.sleep(sum(step.duration_s for step in cast.play.steps) / 2)
    killed_ns = time.monotonic_ns()
    if cast.play.incident is Incident.BROKER_KILLED:
        cast.broker.kill()
        gone_ns = time.monotonic_ns()
        cast.broker.start()
    else:
        [(child, _job)] = cast.workers[0, 0]
        child.kill()
        time.sleep(AWAY_S)
        gone_ns = time.monotonic_ns()
        again, job = cast.start_worker(0, 0, again="-again")
        cast.workers[0, 0].append((again, job))
        again.wait_until(job.ready.exists, "its connection", READY_TIMEOUT_S)
    return Happened(killed_ns, gone_ns, time.monotonic_ns())


def _wait_for_receipts(cast: Cast, confirmed: set[int]) -> None:
    """Until each group has all, or nothing new has come for a while, or messages come again without end."""
    size, grown_at = -1, time.monotonic()
    give_up_at = grown_at + LATE_TIMEOUT_S
    while time.monotonic() < min(grown_at + QUIET_S, give_up_at):
        now = cast.receipt_bytes()
        if now != size:
            size, grown_at = now, time.monotonic()
            if now >= len(confirmed) * LINE_BYTES * cast.play.groups and _all_there(cast, confirmed):
                return
        time.sleep(LOOK_INTERVAL_S)


def _all_there(cast: Cast, confirmed: set[int]) -> bool:
    return all(confirmed <= {receipt.number for worker in group for receipt in worker} for group in cast.receipts())
