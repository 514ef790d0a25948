"""confluent-kafka (librdkafka, in C): `consume(1000)`, each value validated."""

from __future__ import annotations

import os
import signal

from confluent_kafka import Consumer, KafkaException

from bench.consumers.reading import read
from bench.consumers.tally import Tally
from bench.contender import Figures
from bench.stage import Stage
from shared.schemas import AccessRecord

# Short: a wait for a batch that the end of the topic leaves incomplete would count against it.
POLL_S = 0.05


class ConfluentConsumer:
    """The peer that most Python programs use where speed matters."""

    name = "confluent-kafka consume(1000)"

    def run(self, stage: Stage, size: int) -> Figures:
        return read(stage, "bench.consumers.confluent", size)


def main() -> None:
    """The program of the peer."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    tally = Tally.from_environment()
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": os.environ["SERVICE_NAME"],
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([os.environ["KAFKA_TOPIC"]])
    while not tally.complete:
        records = []
        for message in consumer.consume(1000, POLL_S):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            records.append(AccessRecord.model_validate_json(message.value() or b""))
        tally.add(len(records))
    consumer.close()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
