"""What one writes first: each line through an expression and a pydantic model, then aiokafka's `send()`."""

from __future__ import annotations

import asyncio

from bench.contender import Figures
from bench.producers.delivery import deliver
from bench.producers.peer import Job, wait_for_end
from bench.producers.per_record import make_client
from bench.stage import Stage
from services.producer.parse import FORMATS, LogFormat
from services.producer.parse.general import parse_line
from shared.schemas import Source


class NaiveProducer:
    """A quarter of the lines are enough: it takes several times as long for each."""

    name = "aiokafka send() and a pydantic model per line"

    def run(self, stage: Stage, size: int) -> Figures:
        return deliver(stage, "bench.producers.naive", size // 4)


async def send_all(job: Job) -> None:
    """Read, parse line by line, send, and wait for all confirmations."""
    log_format = FORMATS[LogFormat.COMBINED]
    async with make_client(job) as client:
        await client.partitions_for(job.topic)
        job.announce_ready()
        for chunk in job.chunks():
            offset = chunk.start
            for line in chunk.data.split(b"\n")[:-1]:
                source = Source(host="web-1", file=str(job.log), generation="peer", offset=offset, length=len(line))
                record = parse_line(line, log_format, source)
                await client.send(job.topic, record.to_json(), key=record.client_address.encode())
                offset += len(line) + 1
        await client.flush()


if __name__ == "__main__":
    asyncio.run(send_all(Job.from_environment()))
    wait_for_end()
