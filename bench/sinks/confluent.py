"""confluent-kafka: `consume(1000)`, validated, written, then committed once a second."""

from __future__ import annotations

import os
import signal
import time

from confluent_kafka import Consumer, KafkaException

from bench.consumers.reading import read
from bench.contender import Figures
from bench.sinks.file import FileSink
from bench.stage import Stage
from shared.schemas import AccessRecord

# Short: a wait for a batch that the end of the topic leaves incomplete would count against it.
POLL_S = 0.05
COMMIT_INTERVAL_S = 1.0


class ConfluentToFile:
    """The peer in C, with its offsets committed after the work, as ours."""

    name = "confluent-kafka, committed after the work"

    def run(self, stage: Stage, size: int) -> Figures:
        return read(stage, "bench.sinks.confluent", size)


def main() -> None:
    """The program of the peer."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sink = FileSink()
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": os.environ["SERVICE_NAME"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ["KAFKA_TOPIC"]])
    committed_at = time.monotonic()
    while not sink.tally.complete:
        records = []
        for message in consumer.consume(1000, POLL_S):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            records.append(AccessRecord.model_validate_json(message.value() or b""))
        if records:
            sink.write(records)
        if records and time.monotonic() - committed_at > COMMIT_INTERVAL_S:
            consumer.commit(asynchronous=False)
            committed_at = time.monotonic()
    consumer.close()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
