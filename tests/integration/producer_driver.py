"""What the tests of the producer drive and look at: a producer process, files with numbered lines, and the topics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.integration.conftest import PARTITION_COUNT, Topics
from tests.integration.consumer_driver import ROOT, until

EXIT_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 30.0


def line(number: int) -> bytes:
    """A combined line that carries its number; clients and so partitions vary."""
    return (
        b"192.0.%d.%d - - [17/May/2015:10:05:03 +0000] "
        b'"GET /numbered/%d?x=1 HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux x86_64)"\n'
        % (number % 7, number % 251, number)
    )


def lines(first: int, count: int) -> bytes:
    return b"".join(line(number) for number in range(first, first + count))


def append(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


class RunningProducer:
    """One `python -m services.producer`, its log and its exit code."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines with this event, so far."""
        found = []
        for text in self._output.read_bytes().splitlines():
            if text.startswith(b"{") and text.endswith(b"}"):
                event = json.loads(text)
                if event["event"] == name:
                    found.append(event)
        return found

    def wait_for_event(self, name: str, count: int = 1) -> None:
        try:
            until(lambda: len(self.events(name)) >= count, f"{count} times {name} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says\n{self.log_tail()}") from None

    def log_tail(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-15:])

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        assert self.process.wait(EXIT_TIMEOUT_S) == -signal.SIGKILL

    def terminate(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@dataclass
class Site:
    """A folder with logs and a checkpoint, and the producers that were started for it."""

    folder: Path
    bootstrap_servers: str
    topics: Topics
    settings: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "access.log"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "state" / "checkpoint.json"

    def environment(self, **settings: str) -> dict[str, str]:
        """What the producer and its tools run with."""
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_TOPIC": self.topics.records,
            "KAFKA_DEAD_LETTER_TOPIC": self.topics.dead_letters,
            "KAFKA_STATE_TOPIC": self.topics.state,
            "LOG_FILES": str(self.folder / "*access*.log"),
            "CHECKPOINT_FILE": str(self.checkpoint),
            "CHECKPOINT_INTERVAL_MS": "50",
            "SCAN_INTERVAL_MS": "100",
            "HTTP_PORT": "0",
            "REPORT_INTERVAL_S": "0.2",
            "SHUTDOWN_TIMEOUT_S": "10",
            **self.settings,
            **settings,
        }

    def tool(self, name: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """`python -m services.producer.NAME`, run to its end."""
        command = [sys.executable, "-m", f"services.producer.{name}", *arguments]
        environment = self.environment(**settings)
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )

    @contextmanager
    def producer(self, **settings: str) -> Iterator[RunningProducer]:
        """A running producer, killed at the end if it still runs."""
        self.starts += 1
        output = self.folder / f"producer-{self.starts}.out"
        environment = self.environment(**settings)
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.producer"], env=environment, cwd=ROOT, stdout=sink, stderr=sink
            )
        try:
            yield RunningProducer(process, output)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(EXIT_TIMEOUT_S)


@dataclass(frozen=True)
class Found:
    """A record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]


def read_topic(
    bootstrap_servers: str,
    topic: str,
    partition_count: int = PARTITION_COUNT,
    login: Mapping[str, str] | None = None,
) -> list[Found]:
    """Every record that is in the topic now, from a client of another make, without a group."""
    consumer = Consumer(
        {
            **(login or {}),
            "bootstrap.servers": bootstrap_servers,
            "group.id": "auditor",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partition_count)])
    ended: set[int] = set()
    found: list[Found] = []

    def read() -> bool:
        for message in consumer.consume(5000, 0.2):
            partition, offset, error = message.partition(), message.offset(), message.error()
            assert partition is not None
            if error is None:
                assert offset is not None
                headers = {
                    str(pair[0]): bytes(pair[1]) for pair in message.headers() or [] if isinstance(pair[1], bytes)
                }
                found.append(Found(partition, offset, message.key() or b"", message.value() or b"", headers))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(partition)
        return len(ended) == partition_count

    try:
        until(read, f"the end of {topic}", READ_TIMEOUT_S)
    finally:
        consumer.close()
    return found


@dataclass(frozen=True)
class Audit:
    """What the topic holds of the numbered lines."""

    missing: list[int]
    extra: list[int]
    doubled: int  # records beyond the first of each number
    unexplained: int  # of those, records that stand at another place of the file than the first
    reordered: int  # first occurrences out of order, by partition and file

    @property
    def complete(self) -> bool:
        return not self.missing and not self.extra and not self.unexplained and not self.reordered

    @property
    def exactly_once(self) -> bool:
        return self.complete and not self.doubled


_NUMBER = re.compile(rb'"path":"/numbered/(\d+)"')


def audit(found: list[Found], count: int) -> Audit:
    """Compare with the lines 0 … count - 1. Shares no code with the producer."""
    seen: Counter[int] = Counter()
    places: dict[int, tuple[str, int]] = {}
    unexplained = reordered = 0
    last: dict[tuple[int, str], int] = {}
    for record in sorted(found, key=lambda record: (record.partition, record.offset)):
        match = _NUMBER.search(record.value)
        assert match is not None, record.value
        number = int(match[1])
        source = json.loads(record.value)["source"]
        place = (source["generation"], source["offset"])
        seen[number] += 1
        if places.setdefault(number, place) != place:
            unexplained += 1
        if seen[number] == 1:
            lane = (record.partition, source["generation"])
            reordered += source["offset"] < last.get(lane, -1)
            last[lane] = source["offset"]
    expected = set(range(count))
    return Audit(
        missing=sorted(expected - seen.keys())[:20],
        extra=sorted(seen.keys() - expected)[:20],
        doubled=sum(seen.values()) - len(seen),
        unexplained=unexplained,
        reordered=reordered,
    )
