"""The program of one worker of a group: `python -m bench.brokers.consuming`."""

from __future__ import annotations

import asyncio
import signal
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress

import uvloop

from bench.brokers.broker import BrokerLost
from bench.brokers.candidates import find_candidate
from bench.brokers.job import Job
from bench.brokers.journal import Journal
from bench.brokers.messages import number_and_due

TRY_AGAIN_INTERVAL_S = 0.05
SLOW_AMONG = 16


async def handle(values: Sequence[bytes], handling_ms: float, journal: Journal) -> None:
    """One after the other, each with a wait for another system where one is asked for."""
    for value in values:
        number, due_ns = number_and_due(value)
        journal.note(number, due_ns, time.monotonic_ns())
        if handling_ms:
            await asyncio.sleep(handling_ms * slowness(number) / 1e3)


def slowness(number: int) -> float:
    """1 on average: half of that for most, and for one of SLOW_AMONG, whichever worker has it, much more."""
    is_slow = zlib.crc32(number.to_bytes(8)) % SLOW_AMONG == 0
    return 0.5 * (1 + SLOW_AMONG) if is_slow else 0.5


async def run(job: Job) -> None:
    """Until cancelled."""
    journal = Journal(job.journal)
    client = find_candidate(job.candidate).make_client(job.address)
    async with client.consumer(job.topology, job.group, job.worker) as consumer:
        job.ready.touch()
        while True:
            try:
                await handle(await consumer.receive(), job.handling_ms, journal)
                await consumer.acknowledge()
            except BrokerLost:
                await asyncio.sleep(TRY_AGAIN_INTERVAL_S)


async def main() -> None:
    """Read until SIGTERM."""
    running = asyncio.create_task(run(Job.from_environment()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    uvloop.run(main())
