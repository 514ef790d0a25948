"""Reading the topics with confluent-kafka: no group, assign and seek to the beginning, read_uncommitted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.chaos.lines import number_in
from tests.chaos.topic_records import TopicRecord

CALL_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
BATCH = 5_000
POLL_S = 0.05


def _consumer(bootstrap_servers: str, **more: object) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "auditor",
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
            "auto.offset.reset": "earliest",
            "reconnect.backoff.max.ms": 200,
            "topic.metadata.refresh.interval.ms": 500,
            "allow.auto.create.topics": False,
            "log_level": 0,
            **more,
        }
    )


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    known = consumer.list_topics(topic, timeout=CALL_TIMEOUT_S).topics[topic]
    return [TopicPartition(topic, number, 0) for number in sorted(known.partitions)]


def read_topics(
    bootstrap_servers: str, topics: dict[str, bool], isolation_level: str = "read_uncommitted"
) -> Iterator[TopicRecord]:
    """Everything that is in the topics now (name: whether it is the one for dead letters), in order per partition.

    Raises TimeoutError when the end does not come within READ_TIMEOUT_S of the last record.
    """
    consumer = _consumer(bootstrap_servers, **{"enable.partition.eof": True, "isolation.level": isolation_level})
    try:
        assigned = [partition for topic in topics for partition in _partitions(consumer, topic)]
        consumer.assign(assigned)
        unread = {(partition.topic, partition.partition) for partition in assigned}
        give_up_at = time.monotonic() + READ_TIMEOUT_S
        while unread:
            for message in consumer.consume(BATCH, POLL_S):
                error = message.error()
                if error is None:
                    give_up_at = time.monotonic() + READ_TIMEOUT_S
                    yield _record(message, topics)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard((str(message.topic()), int(message.partition() or 0)))
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"no end of {sorted(unread)} within {READ_TIMEOUT_S:g} s")
    finally:
        consumer.close()


def _record(message: Message, topics: dict[str, bool]) -> TopicRecord:
    headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return TopicRecord(
        topics[str(message.topic())],
        int(message.partition() or 0),
        int(message.offset() or 0),
        message.timestamp()[1],
        message.value() or b"",
        {name: value for name, value in headers if value is not None},
    )


class Watcher:
    """Reads along in a thread and knows when which line was first seen. It decides nothing: the audit reads anew."""

    def __init__(self, bootstrap_servers: str, topics: list[str], run: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._run_id = run
        self._ended = threading.Event()
        self._outdated = threading.Event()
        self._seen: set[int] = set()
        self.arrivals: list[tuple[float, int]] = []  # (time.monotonic(), lines seen so far)
        self.oldest_ms, self.newest_ms = 2**62, 0  # of the timestamps that producers gave the records
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watcher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(CALL_TIMEOUT_S)

    @property
    def seen_count(self) -> int:
        """Distinct numbered lines."""
        return len(self._seen)

    def has_seen(self, number: int) -> bool:
        return number in self._seen

    def seen(self) -> set[int]:
        """The numbers of all lines seen so far."""
        return set(self._seen)

    def first_after(self, moment_s: float) -> float | None:
        """When a line was first seen after this moment."""
        return next((at_s for at_s, _count in self.arrivals if at_s > moment_s), None)

    def begin_anew(self) -> None:
        """Read the topics from their beginning again, with a new client: they were deleted and made anew."""
        self._outdated.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            self._outdated.clear()
            self._read_along()

    def _read_along(self) -> None:
        """With one client, until it is outdated."""
        consumer = _consumer(self._bootstrap_servers)
        assigned: set[tuple[str, int]] = set()
        look_at = 0.0
        try:
            while not self._ended.is_set() and not self._outdated.is_set():
                if time.monotonic() > look_at:
                    self._assign_new(consumer, assigned)
                    look_at = time.monotonic() + 1.0
                self._note(consumer.consume(BATCH, POLL_S))
        finally:
            consumer.close()

    def _assign_new(self, consumer: Consumer, assigned: set[tuple[str, int]]) -> None:
        """Partitions that are added while it runs are read too; a broker that is away is asked again later."""
        try:
            found = [partition for topic in self._topics for partition in _known(consumer, topic)]
        except KafkaException:
            return
        places = {(partition.topic, partition.partition) for partition in found}
        if assigned and places > assigned:
            self._outdated.set()  # adding to what is assigned left partitions unread now and then
        elif not assigned:
            consumer.assign(found)
            assigned.update(places)

    def _note(self, messages: list[Message]) -> None:
        before = len(self._seen)
        for message in messages:
            if message.error() is None:
                number = number_in(message.value() or b"", self._run_id)
                if number is not None:
                    self._seen.add(number)
                timestamp_ms = message.timestamp()[1]
                self.oldest_ms = min(self.oldest_ms, timestamp_ms)
                self.newest_ms = max(self.newest_ms, timestamp_ms)
        if len(self._seen) > before:
            self.arrivals.append((time.monotonic(), len(self._seen)))


def _known(consumer: Consumer, topic: str) -> list[TopicPartition]:
    known = consumer.list_topics(topic, timeout=0.5).topics[topic]
    return [TopicPartition(topic, number, 0) for number in known.partitions]
