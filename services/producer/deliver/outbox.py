"""Chunks on their way to the broker: kept until every batch of them is confirmed, sent again by the next incarnation.

What a failed incarnation did not get confirmed is still here, parsed; no file has to be read again, so a file that was
truncated or deleted meanwhile loses nothing that was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from services.producer.deliver.checkpoint import TopicOffsets
from services.producer.deliver.delivered import Delivered
from services.producer.deliver.partition import PartitionBy, Partitioner
from services.producer.deliver.progress import Progress
from services.producer.deliver.session import Session
from services.producer.parse import ParsedChunk, Reject, reject_oversized
from shared.errors import BrokerUnavailable, DeliveryFailed, PipelineError
from shared.kafka.producer import Batch, BatchPublisher, DeliveryReport
from shared.schemas import DeadLetter

# How often a wait for confirmations looks at the deadline.
CHECK_INTERVAL_S = 0.5
# Room for the headers of a dead letter; file names are at most 4096 bytes.
HEADERS_BYTES = 8 * 1024


@dataclass(frozen=True)
class OutboxSettings:
    """Where records go and how many chunks may be unconfirmed."""

    topic: str
    dead_letter_topic: str
    partition_by: PartitionBy
    service_name: str
    host: str
    max_in_flight_chunks: int
    delivery_timeout_s: float
    headers: Sequence[tuple[str, bytes]] = ()  # of every record and dead letter


@dataclass(eq=False, slots=True)
class _InFlight:
    parsed: ParsedChunk
    sent_at: float
    tails: TopicOffsets  # where the topics ended when it was first sent
    unconfirmed_batches: int = 0
    sealed: bool = False  # every batch of it was queued


class Outbox:
    """One at a time: `use` a session, `resend`, `submit` chunks to it, `check` for its failure, `use` the next one.

    Calls `on_report` with every delivery report and `on_confirmed` with every chunk, confirmed or not in order; moves
    `progress` over what is confirmed. `tails` are those of the checkpoint that this run begins with.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        progress: Progress,
        now: Callable[[], float],
        wall_clock_ms: Callable[[], int],
        on_report: Sequence[Callable[[DeliveryReport], None]],
        on_confirmed: Sequence[Callable[[ParsedChunk], None]],
        tails: TopicOffsets,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._now = now
        self._wall_clock_ms = wall_clock_ms
        self._on_report = on_report
        self._on_confirmed = on_confirmed
        self.on_change: Callable[[], None] = lambda: None  # called when something was confirmed or failed
        self._in_flight: dict[_InFlight, None] = {}
        self._changed = asyncio.Event()
        self._incarnation = 0
        self.confirmed_chunks = 0
        self._failure: PipelineError | None = None
        self._publisher: BatchPublisher | None = None
        self._delivered = Delivered(settings.host)
        self._tails = tails
        self._ends = {topic: list(offsets) for topic, offsets in tails.items()}
        self._partitioner = Partitioner(settings.partition_by, 1)
        self._reject_partitioner = self._partitioner

    @property
    def in_flight_chunks(self) -> int:
        return len(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be submitted."""
        return len(self._in_flight) < self._settings.max_in_flight_chunks

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of the files that are read and not confirmed."""
        return sum(entry.parsed.chunk.end - entry.parsed.chunk.start for entry in self._in_flight)

    @property
    def tails(self) -> TopicOffsets:
        """Where to look, at the next start, for lines that are delivered and not below their file's position."""
        oldest = next(iter(self._in_flight), None)
        return oldest.tails if oldest is not None else self._tails_from_here()

    def _tails_from_here(self) -> TopicOffsets:
        """The same for lines that are not sent yet."""
        if self._delivered.pending:
            return self._tails
        return {topic: tuple(ends) for topic, ends in self._ends.items()}

    def use(self, session: Session) -> None:
        """From now on send through this session; `resend` comes next."""
        self._incarnation += 1
        self._failure = None
        publisher = self._publisher = session.publisher
        self._delivered = session.delivered
        self._tails = session.tails
        self._ends = {topic: list(ends) for topic, ends in session.ends.items()}
        by = self._settings.partition_by
        self._partitioner = Partitioner(by, publisher.partition_count(self._settings.topic))
        self._reject_partitioner = Partitioner(by, publisher.partition_count(self._settings.dead_letter_topic))

    async def resend(self) -> None:
        """Queue what an earlier session left unconfirmed, without what is delivered after all."""
        for entry in list(self._in_flight):
            await self._send(entry)

    async def submit(self, parsed: ParsedChunk) -> None:
        """Queue a chunk. Raises the failure of the incarnation; the chunk is kept then too. `has_room` first."""
        entry = _InFlight(parsed, self._now(), self._tails_from_here())
        self._progress.begin(parsed.chunk)
        self._in_flight[entry] = None
        await self._send(entry)

    def check(self) -> None:
        """Raises the failure of the incarnation, or BrokerUnavailable when a confirmation is overdue."""
        if self._failure is not None:
            raise self._failure
        oldest = next(iter(self._in_flight), None)
        timeout_s = self._settings.delivery_timeout_s
        if oldest is not None and self._now() - oldest.sent_at > timeout_s:
            raise BrokerUnavailable(f"no confirmation for {timeout_s:g} s")

    async def drain(self) -> None:
        """Wait until everything is confirmed. Raises the failure of the incarnation. The caller sets the deadline."""
        while self._in_flight:
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        self.check()
        self._changed.clear()
        try:
            async with asyncio.timeout(CHECK_INTERVAL_S):
                await self._changed.wait()
        except TimeoutError:
            pass  # the condition is looked at again, and the deadline
        self.check()

    async def _send(self, entry: _InFlight) -> None:
        """Queue all batches of a chunk. A failure to queue one is the failure of the incarnation."""
        entry.sent_at = self._now()
        entry.unconfirmed_batches = 0
        entry.sealed = False
        remaining = self._delivered.remove_from(entry.parsed)
        entry.parsed = reject_oversized(remaining, self._max_value_bytes(remaining))
        try:
            await self._send_records(entry)
            await self._send_rejects(entry)
        except PipelineError as error:
            self._failure = self._failure or error
            raise
        entry.sealed = True
        self._settle(entry)

    def _max_value_bytes(self, parsed: ParsedChunk) -> int:
        """What the topic takes, less the longest key that a record of the chunk may have."""
        longest_key_bytes = max(map(len, parsed.addresses), default=0) + len(parsed.chunk.file.path.encode())
        return self._started().max_record_bytes - longest_key_bytes

    async def _send_records(self, entry: _InFlight) -> None:
        """One batch per partition, or more where one is full."""
        publisher = self._started()
        partitions, keys = self._partitioner.assign(entry.parsed)
        timestamp_ms = self._wall_clock_ms()
        headers = list(self._settings.headers)
        open_batches: dict[int, Batch] = {}
        for partition, key, value in zip(partitions, keys, entry.parsed.values, strict=True):
            batch = open_batches.get(partition)
            if batch is None:
                batch = open_batches[partition] = publisher.new_batch()
            if batch.append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                await self._send_batch(entry, batch, self._settings.topic, partition)
                batch = open_batches[partition] = publisher.new_batch()
                batch.append(timestamp=timestamp_ms, key=key, value=value, headers=headers)
        for partition, batch in open_batches.items():
            await self._send_batch(entry, batch, self._settings.topic, partition)

    async def _send_rejects(self, entry: _InFlight) -> None:
        if not entry.parsed.rejects:
            return
        publisher = self._started()
        topic = self._settings.dead_letter_topic
        partition = self._reject_partitioner.assign_reject(entry.parsed)
        timestamp_ms = self._wall_clock_ms()
        batch = publisher.new_batch()
        for reject in entry.parsed.rejects:
            letter = self._dead_letter(entry.parsed, reject, publisher.max_record_bytes)
            headers = [*letter.headers(), *self._settings.headers]
            if batch.append(timestamp=timestamp_ms, key=letter.key, value=letter.raw, headers=headers) is None:
                await self._send_batch(entry, batch, topic, partition)
                batch = publisher.new_batch()
                batch.append(timestamp=timestamp_ms, key=letter.key, value=letter.raw, headers=headers)
        await self._send_batch(entry, batch, topic, partition)

    def _dead_letter(self, parsed: ParsedChunk, reject: Reject, max_record_bytes: int) -> DeadLetter:
        file = parsed.chunk.file
        return DeadLetter(
            raw=reject.raw[: max(0, max_record_bytes - HEADERS_BYTES)],
            raw_length=reject.length,
            reason=reject.reason,
            message=reject.message,
            service=self._settings.service_name,
            key=file.generation.encode(),
            source_host=self._settings.host,
            source_file=file.path,
            source_generation=file.generation,
            source_offset=reject.offset,
        )

    async def _send_batch(self, entry: _InFlight, batch: Batch, topic: str, partition: int) -> None:
        incarnation = self._incarnation
        entry.unconfirmed_batches += 1

        def on_report(report: DeliveryReport) -> None:
            for callback in self._on_report:
                callback(report)
            if incarnation != self._incarnation:
                return  # an abandoned incarnation; its chunks were sent again
            self._note_end(report)
            if report.error is not None:
                self._failure = self._failure or report.error
                self._tell_change()
                return
            entry.unconfirmed_batches -= 1
            self._settle(entry)

        await self._started().send(batch, topic, partition, self._settings.delivery_timeout_s, on_report)

    def _note_end(self, report: DeliveryReport) -> None:
        ends = self._ends.get(report.topic)
        if ends is None or report.error is not None or report.first_offset < 0:
            return
        if report.first_offset < ends[report.partition]:
            self.fail(DeliveryFailed(f"{report.topic} was made anew while lines flowed into it"))
        ends[report.partition] = report.first_offset + report.record_count

    def forget_others_than(self, generations: Collection[str]) -> None:
        """No other file is read by this run: where lines of them stand in the topics does not matter any more."""
        self._delivered.forget_others_than(generations)

    def fail(self, error: PipelineError) -> None:
        """Something else than a batch of this outbox has ended the session."""
        self._failure = self._failure or error
        self._tell_change()

    def _settle(self, entry: _InFlight) -> None:
        if entry.sealed and entry.unconfirmed_batches == 0 and entry in self._in_flight:
            del self._in_flight[entry]
            self.confirmed_chunks += 1
            self._progress.confirm(entry.parsed.chunk)
            for callback in self._on_confirmed:
                callback(entry.parsed)
            self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self.on_change()

    def _started(self) -> BatchPublisher:
        assert self._publisher is not None, "use() comes first"
        return self._publisher
