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
from aiokafka.structs import RecordMetadata

from shared.errors import BrokerUnavailable, PipelineError
from shared.kafka.connection import (
    CLIENT_ERRORS,
    abandon_producer,
    client_options,
    ended,
    partition_count,
    start_client,
    translate,
)
from shared.kafka.fence import fenced_options, leave_transactions, raise_fence, require_next_epoch
from shared.kafka.topics import max_message_bytes
from shared.runtime.settings import KafkaSettings

CompressionType = Literal["zstd", "lz4", "snappy", "gzip", "none"]
START_TIMEOUT_S = 20.0
# How soon partitions that were added are seen.
METADATA_MAX_AGE_MS = 30_000
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
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = ...,
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
        transactional_id: str | None = None,
    ) -> BatchPublisher:
        """Connect and learn the topics. Raises BrokerUnavailable or AccessDenied; leaves nothing behind when it does.

        A batch is never larger than the smallest `max.message.bytes` of the topics, before compression. With a
        `transactional_id`, a fence shuts out every earlier publisher of that name first; one that is shut out gets
        Fenced for what it sends.
        """
        limit_bytes = await max_message_bytes(settings, topics)
        batch_bytes = min(max_batch_bytes, limit_bytes)
        if transactional_id is not None:
            fence_id, fence_epoch = await raise_fence(settings, transactional_id, topics)
        client = AIOKafkaProducer(
            **client_options(settings),
            **({} if transactional_id is None else fenced_options(transactional_id)),
            acks="all",
            enable_idempotence=True,
            compression_type=None if compression_type == "none" else compression_type,
            max_batch_size=batch_bytes,
            max_request_size=limit_bytes,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await start_client(client, settings)
                if transactional_id is not None:
                    require_next_epoch(client, fence_id, fence_epoch)
                    leave_transactions(client)
                counts = {topic: await partition_count(client, topic) for topic in topics}
        except CLIENT_ERRORS as error:
            await abandon_producer(client)
            raise translate(error, "connecting a producer") from error
        except BaseException:
            await abandon_producer(client)
            raise
        return cls(client, counts, limit_bytes - RECORD_OVERHEAD_BYTES)

    def partition_count(self, topic: str) -> int:
        return self._partition_counts[topic]

    def partitions_were_added(self) -> bool:
        """Whether a topic has more partitions by now, as far as this client knows; a next publisher would use them."""
        cluster = self._client.client.cluster
        return any(
            len(cluster.partitions_for_topic(topic) or ()) > count for topic, count in self._partition_counts.items()
        )

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
        except CLIENT_ERRORS as error:
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

    async def confirm(self, batch: Batch, topic: str, partition: int, timeout_s: float) -> DeliveryReport:
        """Send a batch and wait until it is confirmed. Raises what became of it otherwise."""
        outcome: asyncio.Future[DeliveryReport] = asyncio.get_running_loop().create_future()

        def on_report(report: DeliveryReport) -> None:
            if not outcome.done():
                outcome.set_result(report)

        try:
            async with asyncio.timeout(timeout_s):
                await self.send(batch, topic, partition, timeout_s, on_report)
                report = await outcome
        except TimeoutError as error:
            raise BrokerUnavailable(f"no confirmation for {timeout_s:g} s from {topic}/{partition}") from error
        if report.error is not None:
            raise report.error
        return report

    def _stop_sending(self) -> None:
        """After a failure, at once: a broker that knows nothing of this client yet would take the partition's next
        batch although this one is missing before it.
        """
        self._client._sender.sender_task.cancel()

    async def close(self) -> None:
        """End the incarnation. The caller has awaited every confirmation that it wants; others are reported failed."""
        if self._unconfirmed:
            await self.abandon()
        elif not await ended(self._client.stop()):
            await abandon_producer(self._client)

    async def abandon(self) -> None:
        """End the incarnation at once: unconfirmed batches are reported as failed and never sent again.

        Whether one of them reached the broker after all is not known.
        """
        await abandon_producer(self._client)
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for report in unconfirmed.values():
            report(BrokerUnavailable("the Kafka client was given up before the broker confirmed"))
