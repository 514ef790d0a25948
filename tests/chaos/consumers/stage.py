"""Where a scenario of the consumer plays: topics, a publisher, replicas of one group, a sink, the group's commits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.chaos.consumers.publisher import Publisher
from tests.chaos.consumers.sinks import Place, SinkUnderTest
from tests.chaos.kafka import PARTITION_COUNT, Kafka, Topics
from tests.chaos.reading import read_topics
from tests.chaos.scene import WAIT_S, Failed, Plan, Scene
from tests.integration.consumer_driver import ROOT, Replica

CONSUMER = ("services.consumer",)
EXIT_TIMEOUT_S = 20.0
DRAIN_LIMIT_S = 120.0
LOOK_INTERVAL_S = 0.1
QUICK_SETTINGS = {
    "COMMIT_INTERVAL_MS": "200",
    "SESSION_TIMEOUT_MS": "6000",
    "REBALANCE_TIMEOUT_MS": "6000",
    "SINK_RETRY_MAX_MS": "500",
    "REPORT_INTERVAL_S": "0.5",
    "SHUTDOWN_TIMEOUT_S": "15",
    "HTTP_PORT": "0",
    "LOG_RENDERER": "json",
}


class CommitWatcher:
    """Looks at the group's offsets all the time: when did each partition move?"""

    def __init__(self, bootstrap_servers: str, group: str, topic: str) -> None:
        self._places = [TopicPartition(topic, number) for number in range(PARTITION_COUNT)]
        self._asker = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})
        self.committed: dict[int, int] = {}
        self.moves: dict[int, list[tuple[float, int]]] = {number: [] for number in range(PARTITION_COUNT)}
        self.steps_back: list[str] = []
        self.looked_at_s = 0.0  # when the last look that was answered began
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(WAIT_S)
        self._asker.close()

    def _look_on(self) -> None:
        while not self._stopping.wait(LOOK_INTERVAL_S):
            began_s = time.monotonic()
            try:
                found = self._asker.committed(self._places, timeout=5)
            except KafkaException:
                continue  # the broker is away; that is for the scenario to judge
            now_s = time.monotonic()
            for one in found:
                if one.error is None and one.offset >= 0:
                    self._note(now_s, int(one.partition), int(one.offset))
            self.looked_at_s = began_s

    def _note(self, now_s: float, partition: int, offset: int) -> None:
        before = self.committed.get(partition, -1)
        if offset < before:
            self.steps_back.append(f"partition {partition} from {before} to {offset}")
        if offset != before:
            self.committed[partition] = offset
            self.moves[partition].append((now_s, offset))

    def quiet_s(self, partitions: Iterable[int]) -> float:
        """How long ago one of these moved last."""
        last_s = max((self.moves[partition][-1][0] for partition in partitions if self.moves[partition]), default=0.0)
        return time.monotonic() - last_s

    def longest_pause_s(self, partition: int, start_s: float, end_s: float) -> float:
        """The longest time between two moves within these moments."""
        moments = [start_s, *(at_s for at_s, _offset in self.moves[partition] if start_s <= at_s <= end_s), end_s]
        return max(later - earlier for earlier, later in pairwise(moments))


class ConsumerStage(Scene):
    """One scenario's surroundings, made and left by the runner."""

    def __init__(
        self, folder: Path, run: str, kafka: Kafka, topics: Topics, sink: SinkUnderTest, plan: Plan, ends_at_s: float
    ) -> None:
        super().__init__(folder, plan, ends_at_s)
        self.kafka = kafka
        self.topics = topics
        self.run = run
        self.sink = sink
        self.sink_folder = folder / "sink"
        self.group = f"group-{run}"
        self.settings: dict[str, str] = {}
        self.lost: dict[int, str] = {}
        self.replicas: list[Replica] = []
        self.deaths = 0
        self.paused_s: tuple[float, float] | None = None
        self.publisher = Publisher(kafka.bootstrap_servers, topics.records, PARTITION_COUNT, 1_500, sink.value_of)
        self.watcher = CommitWatcher(kafka.bootstrap_servers, self.group, topics.records)

    # Replicas

    def start(self, count: int = 1, **settings: str) -> list[Replica]:
        """Start so many replicas of the group and return at once."""
        return [self._start_one(settings) for _ in range(count)]

    def _start_one(self, settings: dict[str, str]) -> Replica:
        output = self.folder / f"replica-{len(self.replicas) + 1}.out"
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "SERVICE_NAME": self.group,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC": self.topics.records,
            "KAFKA_DEAD_LETTER_TOPIC": self.topics.dead_letters,
            **QUICK_SETTINGS,
            **self.sink.settings(),
            **self.settings,
            **settings,
        }
        with output.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *self.plan.program], env=environment, cwd=ROOT, stdout=said, stderr=said
            )
        self.replicas.append(Replica(process, output))
        return self.replicas[-1]

    def running(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.process.poll() is None]

    def slow_down(self, batch_s: float) -> None:
        """A sink that can takes so long for each batch; others are as fast as they are."""
        (self.sink_folder / "slow").write_text(f"{batch_s}")

    def until_ended(self, replica: Replica, code: int) -> None:
        """By itself, with this exit code."""
        self.until(lambda: replica.process.poll() is not None, "the replica to end")
        if replica.process.returncode != code:
            raise Failed(f"a replica ended with {replica.process.returncode} instead of {code}: {said(replica)}")
        self.observe(f"the replica ended by itself with {code}")

    def kill(self, replica: Replica) -> None:
        """SIGKILL; the exit status has to show it."""
        alive = replica.process.poll() is None
        replica.process.kill()
        status = replica.process.wait(EXIT_TIMEOUT_S)
        self.deaths += 1
        self.require(alive and status == -signal.SIGKILL, f"SIGKILL ended a replica (status {status})")

    def stop(self, *replicas: Replica) -> None:
        """SIGTERM to all of them at once; they have to end with 0 in time."""
        for replica in replicas:
            replica.process.terminate()
        for replica in replicas:
            self._await_end(replica)

    def _await_end(self, replica: Replica) -> None:
        try:
            code = replica.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"SIGTERM did not end a replica within {EXIT_TIMEOUT_S:g} s: {said(replica)}") from None
        if code != 0:
            raise Failed(f"SIGTERM ended a replica with {code} instead of 0: {said(replica)}")

    def owners(self) -> dict[int, Replica]:
        """By partition, the running replica that was given it last."""
        return {partition: replica for replica in self.running() for partition in replica.owns or ()}

    # Waiting

    def dead_lettered_places(self) -> set[tuple[int, int]]:
        """Partition and offset of the records that stand in the dead-letter topic."""
        return {
            (int(record.headers["dlt-original-partition"]), int(record.headers["dlt-original-offset"]))
            for record in read_topics(self.kafka.bootstrap_servers, {self.topics.dead_letters: True})
        }

    def committed_now(self) -> dict[int, int]:
        """What is committed at this moment or later; the watcher may be a look behind."""
        asked_s = time.monotonic()
        self.until(lambda: self.watcher.looked_at_s >= asked_s, "the group's offsets")
        return dict(self.watcher.committed)

    @property
    def committed_total(self) -> int:
        return sum(self.watcher.committed.values())

    def until_committed(self, more: int, within_s: float = WAIT_S) -> None:
        """Until the group has come this many offsets further than now."""
        wanted = self.committed_total + more
        self.until(lambda: self.committed_total >= wanted, f"{more} more offsets committed", within_s)

    def until_published(self, more: int) -> None:
        """Until so many more than now are confirmed."""
        wanted = self.publisher.count + more
        self.until(lambda: self.publisher.count >= wanted, f"{more} more records to be published")

    def until_shared(self, count: int, within_s: float = WAIT_S) -> None:
        """Until every one of `count` running replicas has partitions, and all are given."""

        def shared() -> bool:
            owned = [replica.owns or frozenset() for replica in self.running()]
            return len(owned) == count and all(owned) and sum(map(len, owned)) == PARTITION_COUNT

        self.until(shared, f"{count} replicas to share the partitions", within_s)

    def until_drained(self) -> None:
        """Until all that was published is committed. The publisher has stopped."""
        ends = self.publisher.ends

        def behind() -> int:
            return sum(max(0, end - self.watcher.committed.get(partition, 0)) for partition, end in ends.items())

        began_s = time.monotonic()

        def settled() -> bool:
            last_s = max((moves[-1][0] for moves in self.watcher.moves.values() if moves), default=0.0)
            return not behind() or time.monotonic() - max(began_s, last_s) > self.plan.patience_s

        self.until(settled, "everything committed", DRAIN_LIMIT_S)
        if left := behind():
            raise Failed(f"{left} offsets are not committed, and none came for {self.plan.patience_s:g} s")
        give_up_at = time.monotonic() + self.plan.patience_s
        self.until(lambda: not self.sink.owes(self.publisher.places) or time.monotonic() > give_up_at, "the sink")

    def last_words(self) -> str:
        return f"; the last replica says {said(self.replicas[-1])}" if self.replicas else ""

    def excuse_lost(self, numbers: Iterable[int], reason: str) -> None:
        """These cannot come to the sink, whoever reads; they are counted apart."""
        self.lost.update(dict.fromkeys(numbers, reason))

    # Leaving

    def leave(self) -> None:
        """Nothing that was started here goes on."""
        for replica in self.running():
            with suppress(ProcessLookupError):
                replica.process.send_signal(signal.SIGCONT)
            replica.process.kill()
            replica.process.wait(EXIT_TIMEOUT_S)
        self.undo.close()
        self.sink.close()


def partitions_kept(before: Mapping[int, Replica], after: Mapping[int, Replica]) -> set[int]:
    """Those that are still the same replica's."""
    return {partition for partition, replica in after.items() if before.get(partition) is replica}


def said(replica: Replica) -> str:
    """The end of what it printed."""
    return replica.output.read_text(errors="replace")[-1500:]


def place_of(folder: Path, run: str, kafka: Kafka) -> Place:
    sink_folder = folder / "sink"
    sink_folder.mkdir(parents=True)
    return Place(sink_folder, run, kafka.bootstrap_servers)
