"""What the tests of the consumer drive and look at: replicas as processes, records in, groups from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from confluent_kafka import (
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from shared.schemas import AccessRecord, Source
from tests.integration.conftest import DEADLINE_S, PARTITION_COUNT, Topics

ROOT = Path(__file__).parents[2]
POLL_INTERVAL_S = 0.05
EXIT_TIMEOUT_S = 30.0


def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return when `condition` holds. Fails the test, with `what` was waited for, when the time is over."""
    give_up_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {deadline_s:g} s in vain: {what}"
        time.sleep(POLL_INTERVAL_S)


def value(number: int, status: int = 200) -> bytes:
    """A valid record that carries its number as the offset of its line."""
    source = Source(host="web-1", file="/var/log/nginx/access.log", generation="g", offset=number, length=80)
    record = AccessRecord(
        schema_version=1,
        time=datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC),
        client_address="192.0.2.1",
        remote_user=None,
        method="GET",
        path=f"/{number}",
        query=None,
        protocol="HTTP/1.1",
        request=None,
        status=status,
        body_bytes=1,
        referrer=None,
        user_agent="ü",
        forwarded_for=None,
        escaped_fields=(),
        source=source,
    )
    return record.to_json()


def number_of(record: Mapping[str, Any]) -> int:
    number: int = record["source"]["offset"]
    return number


def publish(
    broker: str, topic: str, values: Sequence[bytes | None], partition: int | None = None, over: int = PARTITION_COUNT
) -> None:
    """Publish and wait for all confirmations; without a partition in turn to the `over` partitions of the topic."""
    failures: list[object] = []
    # Idempotent: a repetition would change the order, and numbers tell where a record stands.
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, "enable.idempotence": True})
    for number, one in enumerate(values):
        producer.produce(
            topic,
            one,
            key=b"192.0.2.1",
            partition=number % over if partition is None else partition,
            on_delivery=lambda error, _message: failures.append(error) if error else None,
        )
    assert producer.flush(DEADLINE_S) == 0
    assert not failures


def headers_of(message: Message) -> dict[str, str]:
    return {name: text.decode() for name, text in cast(list[tuple[str, bytes]], message.headers())}


def publish_numbers(broker: str, topics: Topics, first: int, count: int) -> range:
    numbers = range(first, first + count)
    publish(broker, topics.records, [value(number) for number in numbers], over=topics.partition_count)
    return numbers


def read_all(broker: str, topic: str, count: int, partition_count: int) -> list[Message]:
    """The first `count` records of the topic, from a client without a group."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partition_count)])
    found: list[Message] = []
    try:
        give_up_at = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < give_up_at, f"{len(found)} of {count} records in {topic}"
            found += consumer.consume(100, 0.2)
    finally:
        consumer.close()
    return found


@lru_cache(maxsize=4)
def _admin(broker: str) -> AdminClient:
    """One that lives on: the answers of a client that is gone never come."""
    return AdminClient({"bootstrap.servers": broker, "log_level": 2})


def committed(broker: str, group: str, topic: str) -> dict[int, int]:
    """The next offset by partition, of those that have a commit.

    Asked as a member would ask: the library's admin client crashes when the group has no coordinator yet.
    """
    give_up_at = time.monotonic() + DEADLINE_S
    asker = Consumer({"bootstrap.servers": broker, "group.id": group, "log_level": 0})
    places = [TopicPartition(topic, number) for number in range(PARTITION_COUNT)]
    try:
        while True:
            try:
                found = asker.committed(places, timeout=10)
            except KafkaException:
                assert time.monotonic() < give_up_at, f"no coordinator tells the offsets of {group}"
                time.sleep(POLL_INTERVAL_S)
                continue
            return {one.partition: one.offset for one in found if one.error is None and one.offset >= 0}
    finally:
        asker.close()


def assignments(broker: str, group: str) -> list[frozenset[int]]:
    """The partitions of each member, as the coordinator sees it."""
    [future] = _admin(broker).describe_consumer_groups([group]).values()
    members = future.result(DEADLINE_S).members
    return [frozenset(place.partition for place in one.assignment.topic_partitions) for one in members]


class Replica:
    """One `python -m services.consumer`."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output
        self._read_bytes = 0
        self._lines: list[dict[str, Any]] = []

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every whole line that it has printed: of JSON, all of them."""
        with self.output.open("rb") as file:
            file.seek(self._read_bytes)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._lines += [json.loads(line) for line in whole.splitlines()]
        return self._lines

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the records that it printed, repetitions included."""
        return [number_of(line["record"]) for line in self.events("record")]

    @property
    def owns(self) -> frozenset[int] | None:
        """The partitions that it was last given; None before the first time."""
        given = self.events("partitions_assigned")
        return frozenset(given[-1]["partitions"]) if given else None

    def ask(self, path: str) -> int | None:
        """The HTTP status of an endpoint; None while nobody listens."""
        listening = self.events("http_listening")
        if not listening:
            return None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{listening[-1]['port']}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    @property
    def ready(self) -> bool:
        return self.ask("/readyz") == 200

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self.process.kill()
        assert self.process.wait(EXIT_TIMEOUT_S) == -signal.SIGKILL

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(EXIT_TIMEOUT_S)


class Replicas:
    """Starts replicas and ends those that a test leaves."""

    def __init__(self, broker: str, topics: Topics, directory: Path) -> None:
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "KAFKA_TOPIC": topics.records,
            "KAFKA_DEAD_LETTER_TOPIC": topics.dead_letters,
            "HTTP_PORT": "0",
            "LOG_RENDERER": "json",
            "REPORT_INTERVAL_S": "0.5",
            "SESSION_TIMEOUT_MS": "6000",
            "COMMIT_INTERVAL_MS": "200",
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
        }
        self._directory = directory
        self._started: list[Replica] = []

    def start(
        self, service: str, settings: Mapping[str, str] | None = None, *, working_directory: Path = ROOT
    ) -> Replica:
        output = self._directory / f"{service}-{len(self._started)}.log"
        environment = {**self._environment, "SERVICE_NAME": service, **(settings or {})}
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.consumer"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=working_directory,
            )
        replica = Replica(process, output)
        self._started.append(replica)
        return replica

    def end(self) -> None:
        for replica in self._started:
            if replica.process.poll() is None:
                replica.process.kill()
            replica.process.wait(EXIT_TIMEOUT_S)


@contextmanager
def running(broker: str, topics: Topics, directory: Path) -> Iterator[Replicas]:
    replicas = Replicas(broker, topics, directory)
    try:
        yield replicas
    finally:
        replicas.end()
        _admin.cache_clear()
