"""The producing program of PlainPair."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from bench.producers.peer import Job
from bench.producers.per_record import make_client
from services.producer.chunk import Chunk, FileIdentity

LOOK_INTERVAL_S = 0.01


async def tail(job: Job) -> None:
    """Until cancelled."""
    async with make_client(job, linger_ms=0) as client:
        await client.partitions_for(job.topic)
        parser = job.parser()
        identity = FileIdentity(str(job.log), 0, 0, "peer", 0, "")
        job.log.touch()
        job.announce_ready()
        with job.log.open("rb") as file:
            start = 0
            while True:
                file.seek(start)
                read = file.read()
                data = read[: read.rfind(b"\n") + 1]  # a line over the end of a page can be seen half-written
                if not data:
                    await asyncio.sleep(LOOK_INTERVAL_S)
                    continue
                parsed = parser.parse(Chunk(identity, start, start + len(data), data))
                start += len(data)
                for value, address in zip(parsed.values, parsed.addresses, strict=True):
                    await client.send(job.topic, value, key=address)
                await asyncio.sleep(0)


async def main() -> None:
    """Tail until SIGTERM."""
    job = Job.from_environment()
    tailing = asyncio.create_task(tail(job))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, tailing.cancel)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with suppress(asyncio.CancelledError):
        await tailing


if __name__ == "__main__":
    asyncio.run(main())
