"""The publishing program: `python -m bench.brokers.publishing`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count

import uvloop

from bench.brokers.broker import IN_FLIGHT, BrokerLost, Publisher
from bench.brokers.candidates import find_candidate
from bench.brokers.job import Job, Step
from bench.brokers.journal import Journal
from bench.brokers.messages import RECORD_COUNT, message, records

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
TRY_AGAIN_INTERVAL_S = 0.05
LOOK_INTERVAL_S = 0.002


def due_moments(steps: Sequence[Step], started_at_ns: int) -> Iterator[tuple[int, int]]:
    """Numbers with the moments at which they are due. At the highest rate a message is due when it is asked for."""
    numbers = count()
    begin_ns = started_at_ns
    for step in steps:
        end_ns = begin_ns + int(step.duration_s * NS_PER_S)
        if step.rate_per_s == 0:
            while (now_ns := time.monotonic_ns()) < end_ns:
                yield next(numbers), now_ns
        else:
            for place in range(int(step.rate_per_s * step.duration_s)):
                yield next(numbers), begin_ns + place * NS_PER_S // step.rate_per_s
        begin_ns = end_ns


async def publish_all(
    publisher: Publisher, due: Iterator[tuple[int, int]], journal: Journal, key_count: int = RECORD_COUNT
) -> None:
    """Each when it is due and never before, at most IN_FLIGHT at a time; handed to the client in their order."""
    free = asyncio.Semaphore(IN_FLIGHT)
    async with asyncio.TaskGroup() as tasks:
        await free.acquire()
        for number, due_ns in due:
            while (early_ns := due_ns - time.monotonic_ns()) > 0:
                # uvloop's timers are whole milliseconds, and rounded: half a one may be missing.
                await asyncio.sleep(-(-early_ns // NS_PER_MS) / 1e3)
            task = tasks.create_task(publish(publisher, number, due_ns, journal, key_count))
            task.add_done_callback(lambda _done: free.release())
            await free.acquire()


async def publish(publisher: Publisher, number: int, due_ns: int, journal: Journal, key_count: int) -> None:
    """Again until it is confirmed."""
    key, value = message(number, due_ns, key_count)
    while True:
        try:
            await publisher.publish(key, value)
            break
        except BrokerLost:
            await asyncio.sleep(TRY_AGAIN_INTERVAL_S)
    journal.note(number, due_ns, time.monotonic_ns())


async def run(job: Job) -> None:
    """Until cancelled."""
    records()
    journal = Journal(job.journal)
    client = find_candidate(job.candidate).make_client(job.address)
    async with client.publisher(job.topology) as publisher:
        job.ready.touch()
        while not job.go.exists():
            await asyncio.sleep(LOOK_INTERVAL_S)
        due = due_moments(job.steps, time.monotonic_ns())
        await publish_all(publisher, due, journal, job.key_count)
        job.done.touch()
        await asyncio.Event().wait()


async def main() -> None:
    """Publish, and stay until SIGTERM: whoever measures looks at a process that is there."""
    running = asyncio.create_task(run(Job.from_environment()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    uvloop.run(main())
