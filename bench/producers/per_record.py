"""aiokafka as its documentation shows it, `send()` per record, with our parser."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from bench.contender import Figures
from bench.producers.delivery import deliver
from bench.producers.peer import BATCH_BYTES, LINGER_MS, Job, wait_for_end
from bench.stage import Stage


class PerRecordProducer:
    """The client that our producer is built on, without what our producer adds."""

    name = "aiokafka send() per record, same parser"

    def run(self, stage: Stage, size: int) -> Figures:
        return deliver(stage, "bench.producers.per_record", size)


def make_client(job: Job, linger_ms: int = LINGER_MS) -> AIOKafkaProducer:
    """With the guarantees, the compression and the batch size that our producer has."""
    return AIOKafkaProducer(
        bootstrap_servers=job.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        linger_ms=linger_ms,
        max_batch_size=BATCH_BYTES,
    )


async def send_all(job: Job) -> None:
    """Read, parse, send, and wait for all confirmations."""
    async with make_client(job) as client:
        await client.partitions_for(job.topic)
        parser = job.parser()
        job.announce_ready()
        for chunk in job.chunks():
            parsed = parser.parse(chunk)
            for value, address in zip(parsed.values, parsed.addresses, strict=True):
                await client.send(job.topic, value, key=address)
        await client.flush()


if __name__ == "__main__":
    asyncio.run(send_all(Job.from_environment()))
    wait_for_end()
