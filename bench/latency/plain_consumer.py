"""The consuming program of PlainPair."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from aiokafka import AIOKafkaConsumer

from bench.latency.timing import Ages
from bench.producers.peer import answer_ready
from shared.schemas import AccessRecord

POLL_MS = 500


async def read(ages: Ages) -> None:
    """Until cancelled."""
    client = AIOKafkaConsumer(
        os.environ["KAFKA_TOPIC"],
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        group_id=os.environ["SERVICE_NAME"],
        auto_offset_reset="earliest",
    )
    async with client:
        answer_ready(int(os.environ["HTTP_PORT"]))
        while True:
            for received in (await client.getmany(timeout_ms=POLL_MS)).values():
                ages.add([AccessRecord.model_validate_json(record.value) for record in received])


async def main() -> None:
    """Read until SIGTERM."""
    reading = asyncio.create_task(read(Ages.from_environment()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, reading.cancel)
    with suppress(asyncio.CancelledError):
        await reading


if __name__ == "__main__":
    asyncio.run(main())
