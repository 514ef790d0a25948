"""Where a scenario plays: files, topics, producers, a watcher. It knows no scenario.

A scenario acts through this: it writes, starts and ends producers, brings the fault within `fault()`, and tells with
`observe` what shows that the fault took place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.chaos.files import LogFile
from tests.chaos.journal import Expected, Journal
from tests.chaos.kafka import Kafka, Topics
from tests.chaos.lines import number_in
from tests.chaos.reading import Watcher
from tests.chaos.scene import WAIT_S, Failed, Plan, Scene
from tests.integration.consumer_driver import ROOT
from tests.integration.producer_driver import RunningProducer

EXIT_TIMEOUT_S = 15.0
DRAIN_LIMIT_S = 300.0
# What a test of the pair's user does not set is what the services' defaults are made for: minutes. Here seconds.
QUICK_SETTINGS = {
    "CHECKPOINT_INTERVAL_MS": "200",
    "SCAN_INTERVAL_MS": "100",
    "REPORT_INTERVAL_S": "0.5",
    "SHUTDOWN_TIMEOUT_S": "10",
    "DELIVERY_TIMEOUT_MS": "3000",
    "KAFKA_REQUEST_TIMEOUT_MS": "2000",
    "HTTP_PORT": "0",
}


class Stage(Scene):
    """One scenario's surroundings, made and left by the runner."""

    def __init__(self, folder: Path, kafka: Kafka, topics: Topics, run: str, plan: Plan, ends_at_s: float) -> None:
        super().__init__(folder, plan, ends_at_s)
        self.kafka = kafka
        self.topics = topics
        self.run = run
        self.journal = Journal(run)
        self.lost: dict[int, str] = {}
        self.doubled: dict[int, str] = {}
        self.settings: dict[str, str] = {}
        self.producers: list[RunningProducer] = []
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.checkpoint = folder / "state" / "checkpoint.json"
        self.watcher = Watcher(kafka.bootstrap_servers, [topics.records, topics.dead_letters], run)

    # Files and lines

    def log(self, name: str = "access.log") -> LogFile:
        return LogFile(self.logs / name, self.journal)

    # Producers

    def environment(self) -> dict[str, str]:
        """What every producer of this stage is started with, before its own settings."""
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC": self.topics.records,
            "KAFKA_DEAD_LETTER_TOPIC": self.topics.dead_letters,
            "KAFKA_STATE_TOPIC": self.topics.state,
            "LOG_FILES": str(self.logs / "*access*.log"),
            "CHECKPOINT_FILE": str(self.checkpoint),
            "SOURCE_HOST": f"web-{self.run}",
            "DELIVERY": self.plan.mode,
            **QUICK_SETTINGS,
            **self.settings,
        }

    def start(self, *, program: tuple[str, ...] | None = None, **settings: str) -> RunningProducer:
        """Start a producer and return at once."""
        output = self.folder / f"producer-{len(self.producers) + 1}.out"
        command = [sys.executable, "-m", *(program or self.plan.program)]
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command, env={**self.environment(), **settings}, cwd=ROOT, stdout=sink, stderr=sink
            )
        producer = RunningProducer(process, output)
        self.producers.append(producer)
        return producer

    def stop(self, producer: RunningProducer, within_s: float = EXIT_TIMEOUT_S) -> None:
        """SIGTERM; it has to end with 0 in time."""
        try:
            code = producer.terminate(within_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"SIGTERM did not end the producer within {within_s:g} s; it says\n{said(producer)}") from None
        if code != 0:
            raise Failed(f"SIGTERM ended the producer with {code} instead of 0; it says\n{said(producer)}")

    def kill(self, producer: RunningProducer) -> None:
        """SIGKILL; the exit status has to show it."""
        running = producer.process.poll() is None
        producer.process.kill()
        status = producer.process.wait(EXIT_TIMEOUT_S)
        self.require(running and status == -signal.SIGKILL, f"SIGKILL ended the producer (status {status})")

    def running(self) -> list[RunningProducer]:
        return [producer for producer in self.producers if producer.process.poll() is None]

    # Waiting

    def until_arrived(self, more: int, within_s: float = WAIT_S) -> None:
        """Until this many more lines are in the topic than now."""
        wanted = self.watcher.seen_count + more
        self.until(lambda: self.watcher.seen_count >= wanted, f"{more} more lines in the topic", within_s)

    def until_written(self, more: int, within_s: float = WAIT_S) -> None:
        """Until this many more lines are in the files than now."""
        wanted = len(self.journal) + more
        self.until(lambda: len(self.journal) >= wanted, f"{more} more lines written", within_s)

    def until_drained(self) -> None:
        """Until every marked line that is not given up for lost is in the topic."""
        began_s = time.monotonic()

        def settled() -> bool:
            """All there, or nothing came for so long that nothing will: a slow machine is not a loss."""
            last_s = self.watcher.arrivals[-1][0] if self.watcher.arrivals else 0.0
            return self.undelivered() == 0 or time.monotonic() - max(began_s, last_s) > self.plan.patience_s

        self.until(settled, "every line in the topic", DRAIN_LIMIT_S)
        if left := self.undelivered():
            raise Failed(f"{left} lines did not come, and nothing else for {self.plan.patience_s:g} s")

    def undelivered(self) -> int:
        """Lines with a number in them that have to come and were not seen yet."""
        unseen_by_right = sum(1 for number in self.not_awaited() if not self.watcher.has_seen(number))
        return len(self.journal) - self.watcher.seen_count - unseen_by_right

    def not_awaited(self) -> set[int]:
        """Lines that may never be seen: without a number in them, without a promise, or lost by nature."""
        odd = {
            number
            for number, line in self.journal.odd.items()
            if line.expected is Expected.NOTHING_OR_ONE or number_in(line.raw, self.run) is None
        }
        return odd | self.lost.keys()

    def until_event(self, producer: RunningProducer, name: str, count: int = 1, within_s: float = WAIT_S) -> None:
        self.until(lambda: len(producer.events(name)) >= count, f"{count} times {name} in the log", within_s)

    def until_ended(self, producer: RunningProducer, within_s: float = WAIT_S) -> int:
        """Until the producer has ended by itself; its exit code."""
        self.until(lambda: producer.process.poll() is not None, "the producer to end by itself", within_s)
        return int(producer.process.returncode)

    def last_words(self) -> str:
        return f"; the last producer says\n{said(self.producers[-1])}" if self.producers else ""

    # What the fault explains

    def excuse_lost(self, numbers: Iterable[int], reason: str) -> None:
        """These lines are lost by the nature of the fault, whoever reads the files; they are counted apart."""
        self.lost.update(dict.fromkeys(numbers, reason))

    def excuse_doubled(self, numbers: Iterable[int], reason: str) -> None:
        """These may come twice by the nature of the fault; they are counted apart."""
        self.doubled.update(dict.fromkeys(numbers, reason))

    # Leaving

    def leave(self) -> None:
        """Nothing that was started here goes on, and what was done to the system is undone."""
        for producer in self.running():
            with suppress(ProcessLookupError):
                producer.process.send_signal(signal.SIGCONT)
            producer.process.kill()
            producer.process.wait(EXIT_TIMEOUT_S)
        self.undo.close()


def said(producer: RunningProducer) -> str:
    """The end of what it printed."""
    return producer.log_tail()[-1500:]


def answer_of(producer: RunningProducer) -> str:
    """The error that it ended with, as its log has it, or all that it printed."""
    events = producer.events("service_failed")
    return str(events[-1]["error"]) if events else said(producer)
