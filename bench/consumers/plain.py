"""aiokafka as its documentation shows it: `getmany()` with its defaults, each value validated."""

from __future__ import annotations

import asyncio
import os
import signal

from aiokafka import AIOKafkaConsumer

from bench.consumers.reading import read
from bench.consumers.tally import Tally
from bench.contender import Figures
from bench.stage import Stage
from shared.schemas import AccessRecord

POLL_MS = 500


class PlainConsumer:
    """The client that our consumer is built on, without what our consumer adds."""

    name = "aiokafka getmany()"

    def run(self, stage: Stage, size: int) -> Figures:
        return read(stage, "bench.consumers.plain", size)


async def read_all(tally: Tally) -> None:
    """Poll and validate until all is there."""
    client = AIOKafkaConsumer(
        os.environ["KAFKA_TOPIC"],
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        group_id=os.environ["SERVICE_NAME"],
        auto_offset_reset="earliest",
    )
    async with client:
        while not tally.complete:
            for received in (await client.getmany(timeout_ms=POLL_MS)).values():
                records = [AccessRecord.model_validate_json(record.value) for record in received]
                tally.add(len(records))


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    asyncio.run(read_all(Tally.from_environment()))
    signal.sigwait({signal.SIGTERM})
