"""Where the contenders run: one broker, topics of their own, the same log for all."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from bench.errors import BenchmarkFailed
from bench.workload import write_access_log
from compose.local.broker import Broker
from compose.local.ports import free_port

PARTITION_COUNT = 8
ANSWER_TIMEOUT_S = 30.0
RETRY_INTERVAL_S = 0.05
LOG_EMERGENCIES_ONLY = 0  # librdkafka would tell on stderr that the broker is gone at the end


@dataclass(frozen=True, slots=True)
class Topics:
    """Two topics that exist."""

    records: str
    dead_letters: str
    state: str


@dataclass
class Stage:
    """`folder` is temporary and on the same file system as the logs, so that a log appears at once by a link."""

    folder: Path
    broker: Broker
    _admin: AdminClient
    _logs: dict[int, Path] = field(default_factory=dict)
    kept_topics: dict[int, Topics] = field(default_factory=dict)
    """Topics that hold a log's records, by the number of its lines."""

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Stage]:
        """Start a broker on free ports; it and everything else is gone when the context is left."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            broker = Broker.prepare(folder / "kafka")
            broker.start()
            try:
                broker.wait_until_ready()
                yield cls(folder, broker, _admin(broker))
            finally:
                broker.stop()

    def log(self, line_count: int) -> Path:
        """The access log of so many lines; written on the first call."""
        if line_count not in self._logs:
            path = self.folder / f"access-{line_count}.log"
            write_access_log(path, line_count)
            self._logs[line_count] = path
        return self._logs[line_count]

    @contextmanager
    def job_folder(self) -> Iterator[Path]:
        """An empty folder for one run."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)

    def make_topics(self) -> Topics:
        """New topics of 8 partitions, as the `topics` service would make them."""
        run = uuid.uuid4().hex[:8]
        topics = Topics(f"records-{run}", f"dead-letters-{run}", f"state-{run}")
        wanted = [NewTopic(name, PARTITION_COUNT, 1) for name in (topics.records, topics.dead_letters)]
        wanted.append(NewTopic(topics.state, 1, 1, config={"cleanup.policy": "compact"}))
        for made in self._admin.create_topics(wanted).values():
            made.result(ANSWER_TIMEOUT_S)
        return topics

    def remove_topics(self, topics: Topics) -> None:
        for removed in self._admin.delete_topics([topics.records, topics.dead_letters, topics.state]).values():
            removed.result(ANSWER_TIMEOUT_S)

    @contextmanager
    def topics(self) -> Iterator[Topics]:
        """Two topics for one run."""
        topics = self.make_topics()
        try:
            yield topics
        finally:
            self.remove_topics(topics)

    def offset_count(self, topic: str) -> int:
        """The sum of the end offsets: the records that the broker has confirmed, and the markers of transactions."""
        give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                return self._sum_of_end_offsets(topic)
            except KafkaException as error:  # a new topic on a busy broker may have no leader yet
                if not error.args[0].retriable() or time.monotonic() > give_up_at:
                    raise BenchmarkFailed(f"the broker does not tell the end offsets of {topic}: {error}") from error
            time.sleep(RETRY_INTERVAL_S)

    def _sum_of_end_offsets(self, topic: str) -> int:
        places = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(PARTITION_COUNT)}
        answers = self._admin.list_offsets(places, request_timeout=ANSWER_TIMEOUT_S)
        return sum(answer.result(ANSWER_TIMEOUT_S).offset for answer in answers.values())

    def service_settings(self, topics: Topics, name: str) -> dict[str, str]:
        """Environment of a service of ours, on a free port for its health."""
        return {
            "SERVICE_NAME": name,
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "KAFKA_TOPIC": topics.records,
            "KAFKA_DEAD_LETTER_TOPIC": topics.dead_letters,
            "KAFKA_STATE_TOPIC": topics.state,
            "HTTP_PORT": str(free_port()),
        }


def _admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": LOG_EMERGENCIES_ONLY})
