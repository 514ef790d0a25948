"""Sets rejected records aside in the dead-letter topic, and returns only when the broker has confirmed them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from services.consumer.metrics import Metrics
from services.consumer.readiness import Obstacle, Readiness
from shared.backoff import Backoff
from shared.errors import BrokerUnavailable, RetryableError
from shared.kafka.producer import Batch, BatchPublisher, DeliveryReport
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import Logger
from shared.runtime.settings import KafkaSettings
from shared.schemas import DeadLetter

MAX_BATCH_BYTES = 262_144
DELIVERY_TIMEOUT_S = 30.0
# What the record of a dead letter costs besides its value, key and headers.
HEADER_OVERHEAD_BYTES = 16


class DeadLetterQueue:
    """Owns a producer client from the first reject on; a client that failed is replaced, as its module demands."""

    def __init__(
        self,
        settings: KafkaSettings,
        readiness: Readiness,
        health: Health,
        metrics: Metrics,
        log: Logger,
        backoff: Backoff,
        shutdown: Shutdown,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._readiness = readiness
        self._health = health
        self._backoff = backoff
        self._shutdown = shutdown
        self._publisher: BatchPublisher | None = None

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Of one partition, at least one. Repeats until all are confirmed; then they are counted and told.

        What was confirmed of a failed attempt is published twice. Raises RetryableError only when a shutdown is
        requested and an attempt has failed; FatalError when refused.
        """
        await self._publish(letters)
        first = letters[0]
        for letter in letters:
            self._metrics.dead_lettered(letter.original_partition or 0, letter.reason)
        self._log.warning(
            "records_dead_lettered",
            partition=first.original_partition,
            count=len(letters),
            first_offset=first.original_offset,
            reason=first.reason,
            because=first.message,
        )

    async def _publish(self, letters: Sequence[DeadLetter]) -> None:
        failures = 0
        while True:
            try:
                await self._attempt(letters)
            except RetryableError as error:
                failures += 1
                self._readiness.block(Obstacle.DEAD_LETTERS, str(error))
                self._health.progressed()  # a broker that is away is no reason to restart this process
                if await self._shutdown.wait_at_most(self._backoff.delay_s(failures)):
                    raise
            else:
                self._readiness.clear(Obstacle.DEAD_LETTERS)
                return

    async def _attempt(self, letters: Sequence[DeadLetter]) -> None:
        try:
            if self._publisher is None:
                self._publisher = await self._connect()
            await self._send_all(self._publisher, letters)
        except (RetryableError, asyncio.CancelledError):
            await self._abandon()
            raise

    async def _connect(self) -> BatchPublisher:
        topic = self._settings.kafka_dead_letter_topic
        return await BatchPublisher.start(
            self._settings, [topic], compression_type="zstd", max_batch_bytes=MAX_BATCH_BYTES
        )

    async def _send_all(self, publisher: BatchPublisher, letters: Sequence[DeadLetter]) -> None:
        topic = self._settings.kafka_dead_letter_topic
        count = publisher.partition_count(topic)
        by_partition: dict[int, list[DeadLetter]] = {}
        for letter in letters:
            by_partition.setdefault((letter.original_partition or 0) % count, []).append(letter)
        reports: list[asyncio.Future[DeliveryReport]] = []
        for partition, share in by_partition.items():
            for batch in _batches(publisher, share):
                report = asyncio.get_running_loop().create_future()
                await publisher.send(batch, topic, partition, DELIVERY_TIMEOUT_S, _tell(report))
                reports.append(report)
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                delivered = await asyncio.gather(*reports)
        except TimeoutError as error:
            raise BrokerUnavailable(f"dead letters were not confirmed within {DELIVERY_TIMEOUT_S:g} s") from error
        for one in delivered:
            if one.error is not None:
                raise one.error

    async def _abandon(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.abandon()

    async def close(self) -> None:
        """Nothing is pending: every `publish` has returned or raised."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.close()


def _tell(waiting: asyncio.Future[DeliveryReport]) -> Callable[[DeliveryReport], None]:
    def on_report(report: DeliveryReport) -> None:
        if not waiting.done():
            waiting.set_result(report)

    return on_report


def _batches(publisher: BatchPublisher, letters: Sequence[DeadLetter]) -> Iterator[Batch]:
    """The letters, in as few batches as they fit into."""
    batch = publisher.new_batch()
    for letter in letters:
        if not _append(batch, letter, publisher.max_record_bytes):
            yield batch
            batch = publisher.new_batch()
            taken = _append(batch, letter, publisher.max_record_bytes)
            assert taken, "an empty batch takes every letter that is cut to the limit"
    yield batch


def _append(batch: Batch, letter: DeadLetter, max_record_bytes: int) -> bool:
    """Whether the batch had room. The value is cut where the broker would refuse it; `raw_length` tells."""
    headers = letter.headers()
    # A key that leaves no room is a foreign one, and worth less than the value.
    key = letter.key if letter.key and len(letter.key) < max_record_bytes // 2 else None
    besides = len(key or b"") + sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in headers)
    value = letter.raw[: max_record_bytes - besides]
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None
