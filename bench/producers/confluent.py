"""confluent-kafka (librdkafka, in C) with our parser: `produce()` per record, no callback per record."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Producer

from bench.contender import Figures
from bench.producers.delivery import deliver
from bench.producers.peer import LINGER_MS, Job, wait_for_end
from bench.stage import Stage

FULL_QUEUE_WAIT_S = 0.1
FLUSH_TIMEOUT_S = 120.0


class ConfluentProducer:
    """The peer that most Python programs use where speed matters."""

    name = "confluent-kafka, same parser"

    def run(self, stage: Stage, size: int) -> Figures:
        return deliver(stage, "bench.producers.confluent", size)


def _fail(error: KafkaError) -> None:
    raise KafkaException(error)


def main() -> None:
    """The program of the peer."""
    job = Job.from_environment()
    producer = Producer(
        {
            "bootstrap.servers": job.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": LINGER_MS,
            "partitioner": "murmur2_random",
            "error_cb": _fail,
        }
    )
    producer.list_topics(job.topic, timeout=FLUSH_TIMEOUT_S)
    parser = job.parser()
    job.announce_ready()
    for chunk in job.chunks():
        parsed = parser.parse(chunk)
        for value, address in zip(parsed.values, parsed.addresses, strict=True):
            produce(producer, job.topic, value, address)
        producer.poll(0)
    if left := producer.flush(FLUSH_TIMEOUT_S):
        raise SystemExit(f"{left} records were not delivered")
    wait_for_end()


def produce(producer: Producer, topic: str, value: bytes, key: bytes) -> None:
    """Queue one record; while the queue is full, let it drain."""
    while True:
        try:
            producer.produce(topic, value, key=key)
        except BufferError:
            producer.poll(FULL_QUEUE_WAIT_S)
        else:
            return


if __name__ == "__main__":
    main()
