"""FastStream, the framework that most people would use: a subscriber with a typed model, acknowledged after the work.

`BATCH=1`: up to 1,000 records at a time; without, one at a time as its documentation begins.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, cast

from faststream import AckPolicy, StreamMessage
from faststream.kafka import KafkaBroker

from bench.consumers.reading import read
from bench.contender import Figures
from bench.sinks.file import FileSink
from bench.stage import Stage
from shared.schemas import AccessRecord

MAX_RECORDS = 1_000
POLL_S = 0.05
# One record at a time is committed one at a time: a round with all of them would take minutes.
SINGLE_SHARE = 40


class FrameworkToFile:
    """One of its two ways."""

    def __init__(self, name: str, *, batch: bool) -> None:
        self.name = name
        self._batch = batch

    def run(self, stage: Stage, size: int) -> Figures:
        share = size if self._batch else size // SINGLE_SHARE
        return read(stage, "bench.sinks.framework", share, {"BATCH": "1" if self._batch else ""})


async def validated(message: StreamMessage[Any]) -> AccessRecord:
    return AccessRecord.model_validate_json(message.body)


async def validated_batch(message: StreamMessage[Any]) -> list[AccessRecord]:
    return [AccessRecord.model_validate_json(body) for body in cast(list[bytes], message.body)]


async def main() -> None:
    """The program of the peer."""
    sink = FileSink()
    # Its own validation takes Python objects, which our strict model does not: the same validation as the others do.
    broker = KafkaBroker(os.environ["KAFKA_BOOTSTRAP_SERVERS"], logger=None, apply_types=False)
    topic, group = os.environ["KAFKA_TOPIC"], os.environ["SERVICE_NAME"]

    async def take_batch(records: list[AccessRecord]) -> None:
        sink.write(records)

    async def take_one(record: AccessRecord) -> None:
        sink.write([record])

    if os.environ.get("BATCH"):
        broker.subscriber(
            topic,
            group_id=group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            batch=True,
            max_records=MAX_RECORDS,
            decoder=validated_batch,
        )(take_batch)
    else:
        broker.subscriber(
            topic,
            group_id=group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            decoder=validated,
        )(take_one)
    async with broker:
        await broker.start()
        while not sink.tally.complete:
            await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    asyncio.run(main())
    signal.sigwait({signal.SIGTERM})
