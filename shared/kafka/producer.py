"""One incarnation of an idempotent producer that sends whole batches and reports every confirmation.

After any failure the incarnation is spent: the client takes sequence numbers when it pops a batch and never gives them
back, so a partition whose batch failed refuses everything after it (OUT_OF_ORDER_SEQUENCE, aiokafka issue 1017). The
owner abandons it, rewinds to what is confirmed and starts another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.structs import RecordMetadata

from shared.errors import BrokerUnavailable, PipelineError
from shared.kafka.connection import client_options, translate
from shared.kafka.topics import max_message_bytes
from shared.runtime.settings import KafkaSettings

CompressionType = Literal["zstd", "lz4", "snappy", "gzip", "none"]
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 2.0
# What a record costs in a batch besides key, value and headers; the batch's own header is 61 bytes.
RECORD_OVERHEAD_BYTES = 128


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of one batch. `first_offset` is -1 and `error` is set when it was not confirmed."""

    topic: str
    partition: int
    first_offset: int
    record_count: int
    latency_s: float
    error: PipelineError | None


class Batch(Protocol):
    """A batch under construction (aiokafka's BatchBuilder)."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]] = ...
    ) -> object | None:
        """Add a record (`timestamp` in milliseconds); None when the batch is full and took nothing."""

    def record_count(self) -> int: ...

    def size(self) -> int: ...


class BatchPublisher:
    """A started client. Make it with `start`, end it with `close` or, after any failure, with `abandon`."""

    def __init__(self, client: AIOKafkaProducer, partition_counts: dict[str, int], max_record_bytes: int) -> None:
        self._client = client
        self._partition_counts = partition_counts
        self._unconfirmed: dict[asyncio.Future[object], Callable[[PipelineError], None]] = {}
        self.max_record_bytes = max_record_bytes

    @classmethod
    async def start(
        cls,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        compression_type: CompressionType,
        max_batch_bytes: int,
    ) -> BatchPublisher:
        """Connect and learn the topics. Raises BrokerUnavailable or AccessDenied; leaves nothing behind when it does.

        A batch is never larger than the smallest `max.message.bytes` of the topics, before compression.
        """
        limit_bytes = await max_message_bytes(settings, topics)
        batch_bytes = min(max_batch_bytes, limit_bytes)
        client = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type=None if compression_type == "none" else compression_type,
            max_batch_size=batch_bytes,
            max_request_size=limit_bytes,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await client.start()
                counts = {topic: await _partition_count(client, topic) for topic in topics}
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            await _abandon(client)
            raise translate(error, "connecting a producer") from error
        except BaseException:
            await _abandon(client)
            raise
        return cls(client, counts, limit_bytes - RECORD_OVERHEAD_BYTES)

    def partition_count(self, topic: str) -> int:
        return self._partition_counts[topic]

    def new_batch(self) -> Batch:
        batch: Batch = self._client.create_batch()
        return batch

    async def send(
        self, batch: Batch, topic: str, partition: int, timeout_s: float, on_report: Callable[[DeliveryReport], None]
    ) -> None:
        """Queue a batch and return; wait while the partition's earlier batch is still queued, at most `timeout_s`.

        `on_report` is called once, from the event loop, with the outcome. Raises what `translate` makes of a failure
        to queue; then there is no report.
        """
        queued_at = time.monotonic()
        count = batch.record_count()
        try:
            async with asyncio.timeout(timeout_s):
                confirmation = await self._client.send_batch(batch, topic, partition=partition)
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            raise translate(error, f"queueing a batch for {topic}/{partition}") from error

        def report(first_offset: int, error: PipelineError | None) -> None:
            on_report(DeliveryReport(topic, partition, first_offset, count, time.monotonic() - queued_at, error))

        def on_done(future: asyncio.Future[RecordMetadata | None]) -> None:
            if self._unconfirmed.pop(future, None) is None:
                return  # abandoned and reported
            if error := future.exception():
                self._stop_sending()
                report(-1, translate(error, f"publishing to {topic}/{partition}"))
            else:
                metadata = future.result()
                report(metadata.offset if metadata else -1, None)

        self._unconfirmed[confirmation] = lambda error: report(-1, error)
        confirmation.add_done_callback(on_done)

    def _stop_sending(self) -> None:
        """After a failure, at once: a broker that knows nothing of this client yet would take the partition's next
        batch although this one is missing before it.
        """
        self._client._sender.sender_task.cancel()

    async def close(self) -> None:
        """End the incarnation. The caller has awaited every confirmation that it wants; others are reported failed."""
        if self._unconfirmed:
            return await self.abandon()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._client.stop()
        except (kafka_errors.KafkaError, TimeoutError, OSError):
            await _abandon(self._client)

    async def abandon(self) -> None:
        """End the incarnation at once: unconfirmed batches are reported as failed and never sent again.

        Whether one of them reached the broker after all is not known.
        """
        await _abandon(self._client)
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for report in unconfirmed.values():
            report(BrokerUnavailable("the Kafka client was given up before the broker confirmed"))


async def _partition_count(client: AIOKafkaProducer, topic: str) -> int:
    try:
        return len(await client.partitions_for(topic))
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise BrokerUnavailable(f"topic {topic} does not exist yet; the `topics` service makes it") from error


async def _abandon(client: AIOKafkaProducer) -> None:
    """Stop without the flush that `stop()` insists on: with the broker away it would wait for ever.

    Touches private names of aiokafka 0.14; a test notices when they change.
    """
    client._closed = True
    sender_task = client._sender.sender_task
    for _attempt in range(10):
        # The sender answers the first cancellation by waiting for its requests; the next one ends that wait.
        if sender_task is None or sender_task.done():
            break
        sender_task.cancel()
        await asyncio.wait([sender_task], timeout=0.05)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await client.client.close()
    except (kafka_errors.KafkaError, TimeoutError, OSError):
        pass  # a connection that does not close in time is the operating system's to clean up
