"""The way of a record: poll → decode → rejects confirmed as dead letters → choose → feeder → sink → flush → commit.

Offsets that hold no record, such as the markers that the producer's fence leaves, are passed over once all that was
polled is taken, and committed too: else a partition that ends with one would lag for ever.

One batch at a time, in order. Everything that touches a partition's progress holds `_turn`; polling does not, because
during a reassignment it waits for the very callback that needs `_turn` to finish what is in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from services.consumer.choose import Chooser
from services.consumer.decode import DecodedBatch, decode
from services.consumer.feeder import Feeder
from services.consumer.progress import Gap, PartitionProgress, missing_offsets
from services.consumer.readiness import Obstacle
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.base import CommittingSink
from services.consumer.tools import Tools
from shared.errors import BrokerUnavailable, OwnershipLost, PipelineError, RetryableError
from shared.kafka.consumer import GroupReader, Membership
from shared.kafka.records import RecordBatch

POLL_TIMEOUT_S = 0.5
COMMIT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
# What on_revoked keeps of the rebalance timeout, so that this member joins before the group gives up on it.
REJOIN_RESERVE_S = 1.0
# After the group has taken partitions away, how long until it must have begun to assign anew.
LOST_GRACE_S = 10.0


class Pipeline:
    """The work of one membership of the group. It is the reader's listener as well."""

    def __init__(self, settings: ConsumerSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._reader: GroupReader | None = None
        self._turn = asyncio.Lock()
        self._gaps: list[Gap] = []
        self._asking = asyncio.Lock()
        self._owned: dict[int, PartitionProgress] = {}
        self._lost_at: float | None = None
        self._feeder = Feeder(settings, tools, self._taken)
        self._chooser = Chooser(settings, tools, time.monotonic)
        self._committed_at = time.monotonic()
        self.processed_total = 0

    @property
    def owned(self) -> dict[int, PartitionProgress]:
        """Progress by partition, of those that are this replica's now."""
        return dict(self._owned)

    @property
    def in_flight(self) -> int:
        """Records that are polled and that the sink has not taken."""
        return self._feeder.in_flight

    @property
    def waiting(self) -> frozenset[int]:
        """Partitions that are not polled for the moment, because of the sink."""
        return frozenset(self._owned if self._feeder.all_rest else self._feeder.waiting)

    def sink_busy_for_s(self, now: float) -> float:
        """How long the sink has been at one attempt; 0 while it has nothing. `now` is monotonic."""
        return self._feeder.busy_for_s(now)

    async def connect(self) -> GroupReader:
        """Begin a membership. Raises BrokerUnavailable or AccessDenied."""
        settings = self._settings
        membership = Membership(
            settings.group_id,
            settings.auto_offset_reset,
            settings.session_timeout_ms,
            settings.rebalance_timeout_ms,
            isolation_level=settings.kafka_isolation_level,
            rack=settings.kafka_client_rack,
        )
        self._tools.readiness.block(Obstacle.GROUP, "joining the group")
        self._reader = await GroupReader.start(settings, membership, self)
        return self._reader

    async def work(self) -> None:
        """Poll and process once. Raises RetryableError when the reader must be replaced, FatalError to end it all."""
        assert self._reader is not None, "connect first"
        reader = self._reader
        polled = await reader.poll(self._settings.max_poll_records, self._poll_timeout_s())
        self._tools.health.progressed()
        # Taken before the turn is waited for: what was polled under one assignment is never work of the next one.
        polled_for = self.owned
        self._check_ownership(reader)
        async with self._turn:
            moved = await self._begin(reader, polled_for, polled.batches)
            for batch in polled.batches:
                if batch.partition not in moved:
                    await self._process(batch, polled_for.get(batch.partition))
            await self._feeder.feed_waiting()
            # Not before: the positions are behind all of these batches.
            self._pass_over({at: to for at, to in polled.read_to.items() if at not in moved}, polled_for)
            if self._commit_due():
                await self._flush_and_commit()
            reader.rest(self.waiting)

    async def disconnect(self) -> bool:
        """Finish what is in flight, commit, leave the group; bounded. Returns whether all is committed."""
        drained = await self._drain()
        if self._reader is not None:
            with suppress(PipelineError):  # a broker that does not answer; the next membership asks again
                await self.tell_missing(self._reader)
        await self.leave()
        return drained

    async def leave(self) -> None:
        """Leave the group without finishing anything."""
        reader, self._reader = self._reader, None
        self._release(list(self._owned))
        if reader is not None:
            await reader.stop()

    def _check_ownership(self, reader: GroupReader) -> None:
        """Records of a partition that the group says is ours, and that is not in `_owned`, are dropped for good.

        Raises RetryableError then: a new reader begins at what is committed. Shortly after a loss this is no fault.
        """
        strange = sorted(reader.assigned - self._owned.keys())
        lost_lately = self._lost_at is not None and time.monotonic() - self._lost_at < LOST_GRACE_S
        if strange and not lost_lately:
            raise RetryableError(f"the group still gives this replica partitions {strange}, which it has let go")

    async def _begin(
        self, reader: GroupReader, owned: Mapping[int, PartitionProgress], batches: Sequence[RecordBatch]
    ) -> Collection[int]:
        """After an assignment: ask the group and the sink where they had come to; what is lost since shows as a gap.

        Returns the partitions whose reading begins there, or again while the sink is away. What was polled of them
        before is dropped: the client may have begun elsewhere, before a predecessor's last commit was decided or
        without an answer at all.
        """
        fresh = {number: one for number, one in owned.items() if not one.begun and self._owned.get(number) is one}
        if not fresh:
            return ()
        at_sink = await self._feeder.resume(fresh)
        if at_sink is None:
            reader.seek({batch.partition: batch.first_offset for batch in batches if batch.partition in fresh})
            return fresh.keys()
        # Behind the sink, which may have to end what a predecessor was committing.
        committed = await reader.committed(fresh, ANSWER_TIMEOUT_S)
        start = {partition: offset for partition, offset in {**committed, **at_sink}.items() if offset is not None}
        # A client that still looks for where to begin would overwrite the seek with what it finds.
        found = await asyncio.gather(*(reader.position(partition, ANSWER_TIMEOUT_S) for partition in start))
        if None in found:
            raise BrokerUnavailable("the broker does not say where the partitions begin")
        reader.seek(start)
        for partition, progress in fresh.items():
            progress.begin(committed[partition], at_sink.get(partition))
        return start.keys()

    def _pass_over(self, read_to: Mapping[int, int], polled_for: Mapping[int, PartitionProgress]) -> None:
        for partition, position in read_to.items():
            progress = polled_for.get(partition)
            if progress is None or self._owned.get(partition) is not progress:
                continue  # given away since the poll
            if partition in self._feeder.waiting:
                continue
            if position >= (progress.received_to or 0):
                self._note_gap(partition, progress, position)
                progress.pass_over(position)

    async def _process(self, batch: RecordBatch, progress: PartitionProgress | None) -> None:
        if progress is None or self._owned.get(batch.partition) is not progress:
            return  # given away between the poll and now
        self._note_received(batch, progress)
        decoded = decode(batch, self._settings.group_id, self._settings.service_name)
        if decoded.rejects:
            await self._tools.dead_letters.publish(decoded.rejects)
        if self._owned.get(batch.partition) is progress:
            await self._feeder.feed(self._chooser.choose(decoded), progress)

    def _taken(self, batch: DecodedBatch, progress: PartitionProgress) -> None:
        if self._owned.get(batch.partition) is not progress:
            self._tools.sink.forget([batch.partition])
            return  # it took too long: the group gave the partition to another member meanwhile
        progress.take(batch.first_offset, batch.next_offset, batch.newest_timestamp_ms)
        self.processed_total += len(batch.records)
        self._tools.metrics.processed(batch.partition, len(batch.records))

    def _note_received(self, batch: RecordBatch, progress: PartitionProgress) -> None:
        self._tools.metrics.received(batch.partition, len(batch.records))
        self._note_gap(batch.partition, progress, batch.first_offset)
        progress.receive(batch.first_offset, batch.next_offset)

    def _note_gap(self, partition: int, progress: PartitionProgress, resumed_at: int) -> None:
        if progress.received_to is not None and resumed_at != progress.received_to:
            self._gaps.append(Gap(partition, progress.received_to, resumed_at))

    async def tell_missing(self, reader: GroupReader) -> None:
        """Of the gaps since the last time, tell those in which records were lost. Not on the way of the records.

        Raises RetryableError or FatalError when the broker does not say; then the gaps are kept for the next time.
        """
        async with self._asking:
            if not (gaps := list(self._gaps)):
                return
            first_kept = await reader.first_offsets({gap.partition for gap in gaps}, ANSWER_TIMEOUT_S)
            del self._gaps[: len(gaps)]
        resets_to_end = self._settings.auto_offset_reset == "latest"
        for gap in gaps:
            missing = missing_offsets(gap, first_kept[gap.partition], resets_to_end=resets_to_end)
            if missing:
                before = gap.expected + missing
                self._tools.log.warning("offsets_missing", partition=gap.partition, before=before, count=missing)

    def _commit_due(self) -> bool:
        """A flush that failed does not wait for the interval, but for the time of its next attempt."""
        waited_s = time.monotonic() - self._committed_at
        return self._feeder.owes_a_flush or waited_s >= self._settings.commit_interval_ms / 1000

    def _poll_timeout_s(self) -> float:
        """No longer than the commit, or what waits for the sink, may wait."""
        now = time.monotonic()
        due = [now + POLL_TIMEOUT_S]
        if not self._feeder.owes_a_flush and any(progress.has_taken for progress in self._owned.values()):
            due.append(self._committed_at + self._settings.commit_interval_ms / 1000)
        if self._feeder.next_attempt_at is not None:
            due.append(self._feeder.next_attempt_at)
        return max(0.001, min(due) - now)

    async def _flush_and_commit(self, *, at_once: bool = False) -> bool:
        """Make everything taken durable and tell the group; False when the sink is away. Raises what `flush` raises.

        `at_once`: also while the sink was found to be away a moment ago.
        """
        flushed = dict(self._owned)
        if self._feeder.owes_a_flush or any(progress.has_taken for progress in flushed.values()):
            if not await self._feeder.flush(at_once=at_once):
                return False
            for progress in flushed.values():
                progress.flush()
        self._committed_at = time.monotonic()
        moved = {
            partition: (progress, offset)
            for partition, progress in flushed.items()
            if self._owned.get(partition) is progress and (offset := progress.uncommitted) is not None
        }
        if moved and self._reader is not None:
            await self._commit(self._reader, moved)
        return True

    async def _commit(self, reader: GroupReader, moved: Mapping[int, tuple[PartitionProgress, int]]) -> None:
        try:
            await self._tell_group(reader, {partition: offset for partition, (_p, offset) in moved.items()})
        except OwnershipLost as error:
            self._tools.metrics.commits_lost.inc()
            self._tools.log.warning("ownership_lost", partitions=sorted(moved), error=str(error))
            self._lose({partition: progress for partition, (progress, _offset) in moved.items()})
        except RetryableError as error:
            # What was processed stays processed; the next round commits it.
            self._tools.metrics.commits_failed.inc()
            self._tools.readiness.block(Obstacle.BROKER, str(error))
        else:
            self._tools.metrics.commits_done.inc()
            for progress, offset in moved.values():
                progress.commit(offset)

    async def _tell_group(self, reader: GroupReader, next_offsets: Mapping[int, int]) -> None:
        sink = self._tools.sink
        if isinstance(sink, CommittingSink):
            await sink.commit(next_offsets)
        else:
            await reader.commit(next_offsets, COMMIT_TIMEOUT_S)

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        """Let the batch in flight finish, flush, commit, let go. What that does not reach in time is read again."""
        self._tools.readiness.block(Obstacle.GROUP, "the group reassigns its partitions")
        await self._drain()
        self._release(list(self._owned))

    async def _drain(self) -> bool:
        because = ""
        try:
            async with asyncio.timeout(self._settings.rebalance_timeout_ms / 1000 - REJOIN_RESERVE_S), self._turn:
                if not await self._flush_and_commit(at_once=True):
                    because = "the sink is away"
        except (PipelineError, TimeoutError) as error:
            because = str(error) or "the batch in flight took too long"
        left = [number for number, one in self._owned.items() if one.has_taken or one.uncommitted is not None]
        if left or because:
            self._tools.log.warning("drain_incomplete", partitions=left, error=because or "the commit failed")
        return not (left or because)

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        """Begin with nothing known about any of them."""
        self._lost_at = None
        self._owned = {partition: PartitionProgress() for partition in sorted(partitions)}
        self._tools.metrics.assigned_partitions.set(len(partitions))
        self._tools.metrics.rebalances.inc()
        self._tools.readiness.clear(Obstacle.GROUP)
        if not partitions:
            self._feeder.idle()
        self._tools.log.info("partitions_assigned", group=self._settings.group_id, partitions=sorted(partitions))

    def _lose(self, committing: Mapping[int, PartitionProgress]) -> None:
        """A commit found that these belong to another member. Its answer may come late, after the next assignment.

        What was assigned since has progress of its own, and stays.
        """
        lost = [partition for partition, progress in committing.items() if self._owned.get(partition) is progress]
        if lost:
            self._lost_at = time.monotonic()
            self._tools.readiness.block(Obstacle.GROUP, "the group gave the partitions away")
            self._release(lost)

    def _release(self, partitions: Collection[int]) -> None:
        """These partitions are nobody's or another member's: forget what is not committed."""
        for partition in partitions:
            self._tools.metrics.lag(partition, None, None)
        self._tools.sink.forget(partitions)
        self._feeder.forget(partitions)
        self._owned = {number: progress for number, progress in self._owned.items() if number not in partitions}
        self._tools.metrics.assigned_partitions.set(len(self._owned))
