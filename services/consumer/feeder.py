"""How batches get into the sink: attempts, pauses, parts, dead letters.

    taken               done
    SinkUnavailable     all partitions rest until an attempt succeeds; nothing is set aside
    BatchFailed         this partition rests and tries again, the others go on; after SINK_MAX_ATTEMPTS its halves are
                        tried, and so on down to the records that fail alone: these are set aside
    RecordsRejected     the rest of the batch is tried, the records are set aside
    SINK_BREAKER_AFTER  records set aside in a row without one taken: the sink counts as unavailable

A sink that was unavailable and now fails at a batch is back; one that took nothing for too long is not, until it takes.

The order of a partition is kept: what comes behind a batch that waits, waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from services.consumer.decode import DecodedBatch, Failure, letters_of
from services.consumer.progress import PartitionProgress
from services.consumer.readiness import Obstacle
from services.consumer.retry import Breaker, Piece, Waiting
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.base import OffsetKeeper
from services.consumer.tools import Tools
from shared.errors import BatchFailed, FatalError, RecordsRejected, SinkUnavailable
from shared.schemas import DeadLetterReason


class Feeder:
    """Of one membership at a time. `on_taken` is told of each batch, or part of one, that the sink has accepted."""

    def __init__(
        self,
        settings: ConsumerSettings,
        tools: Tools,
        on_taken: Callable[[DecodedBatch, PartitionProgress], None],
    ) -> None:
        self._settings = settings
        self._tools = tools
        self._on_taken = on_taken
        self._waiting: dict[int, Waiting] = {}
        self._breaker = Breaker(settings.sink_breaker_after, tools.sink_backoff)
        self._flush_failed = False
        self._resume_failed = False
        self._attempt_limit_s = settings.max_poll_interval_ms / 1000
        self._busy_since: float | None = None

    @property
    def waiting(self) -> Collection[int]:
        """Partitions that have something left to be taken."""
        return self._waiting.keys()

    @property
    def all_rest(self) -> bool:
        """Whether nothing may be polled: the sink is down, and there is something to try it with."""
        return self._breaker.is_open and (bool(self._waiting) or self._flush_failed or self._resume_failed)

    @property
    def owes_a_flush(self) -> bool:
        """Whether the last flush failed. It has to be tried again, also when all that was taken is another's now."""
        return self._flush_failed

    @property
    def next_attempt_at(self) -> float | None:
        """When `feed_waiting` has something to do; None when nothing waits."""
        if self.all_rest:
            return self._breaker.retry_at
        return min((one.retry_at for one in self._waiting.values()), default=None)

    def busy_for_s(self, now: float) -> float:
        """How long the sink has been at one attempt; 0 while it has nothing."""
        return 0.0 if self._busy_since is None else now - self._busy_since

    def forget(self, partitions: Collection[int]) -> None:
        """They are another member's."""
        for partition in partitions:
            self._waiting.pop(partition, None)
        self._count_in_flight()

    def idle(self) -> None:
        """This replica has no partitions. Nothing asks the sink then, so what it was found to be holds up nobody."""
        self._resume_failed = False
        self._breaker.close()
        self._tools.readiness.forget(Obstacle.SINK)

    async def resume(self, partitions: Collection[int]) -> Mapping[int, int] | None:
        """Ask the sink where it had come to, after an assignment; None while it is away, and then it is asked again.

        Raises FatalError.
        """
        if self._resume_failed and not self._breaker.is_due(time.monotonic()):
            return None
        try:
            offsets: Mapping[int, int] = await self._timed(
                self._tools.sink.resume(self._settings.kafka_topic, partitions)
            )
        except SinkUnavailable as error:
            self._resume_failed = True
            self._sink_is_away(error)
            return None
        if self._resume_failed:
            self._resume_failed = False
            self._sink_works()
        return offsets

    async def feed(self, batch: DecodedBatch, progress: PartitionProgress) -> None:
        """Take it now, or as soon as the sink allows. Raises FatalError."""
        waiting = self._waiting.setdefault(batch.partition, Waiting(progress))
        waiting.pieces.append(Piece(batch, time.monotonic()))
        self._count_in_flight()
        if len(waiting.pieces) == 1 and not self._breaker.is_open:
            await self._drive(batch.partition, waiting)

    async def feed_waiting(self) -> None:
        """Try again what is due; while the sink is down, one batch, of each partition in turn. Raises FatalError."""
        now = time.monotonic()
        if not self._breaker.is_due(now) or self._flush_failed:
            return
        if self._breaker.is_open and self._waiting:
            partition, waiting = min(self._waiting.items(), key=lambda item: item[1].tried_at)
            await self._drive(partition, waiting)
        if not self._breaker.is_open:
            for partition, waiting in list(self._waiting.items()):
                if waiting.retry_at <= now and not self._breaker.is_open:
                    await self._drive(partition, waiting)

    async def flush(self, *, at_once: bool) -> bool:
        """Have the sink flush; False when it is away, and then it is tried again when it may be back.

        A sink that fails at a batch may hold others that it took: these are flushed all the same, else a restart
        would repeat them. `at_once`: without a pause after a flush that failed. Raises OwnershipLost or FatalError.
        """
        if self._flush_failed and not at_once and not self._breaker.is_due(time.monotonic()):
            return False
        try:
            await self._timed(self._tools.sink.flush())
        except SinkUnavailable as error:
            self._flush_failed = True
            self._sink_is_away(error)
            return False
        if self._flush_failed:
            self._flush_failed = False
            self._sink_works()
        return True

    async def _drive(self, partition: int, waiting: Waiting) -> None:
        """Until all of it is taken, or something has to be waited for."""
        while waiting.pieces and self._waiting.get(partition) is waiting:
            if not await self._try_first(waiting):
                break
        if not waiting.pieces and self._waiting.get(partition) is waiting:
            del self._waiting[partition]
        self._count_in_flight()

    async def _try_first(self, waiting: Waiting) -> bool:
        """Whether to go on at once with what is first then."""
        piece = waiting.pieces[0]
        waiting.tried_at = time.monotonic()
        try:
            await self._offer(piece.batch)
        except SinkUnavailable as error:
            self._sink_is_away(error)
            return False
        except BatchFailed as error:
            return await self._failed(waiting, piece, error)
        except RecordsRejected as error:
            return await self._rejected(waiting, piece, error)
        self._done(waiting)
        return True

    async def _offer(self, batch: DecodedBatch) -> None:
        """Raises what `write` raises."""
        sink = self._tools.sink
        if batch.records:
            await self._timed(sink.write(batch))
            self._sink_works()
        elif isinstance(sink, OffsetKeeper):
            await self._timed(sink.skip(batch))
            self._sink_answers()

    def _done(self, waiting: Waiting) -> None:
        piece = waiting.pieces.popleft()
        self._tools.metrics.batch_seconds.observe(time.monotonic() - piece.polled_at)
        self._on_taken(piece.batch, waiting.progress)

    async def _failed(self, waiting: Waiting, piece: Piece, error: BatchFailed) -> bool:
        if self._still_takes_nothing(error):
            return False
        piece.failures += 1
        self._tools.metrics.sink_retries.inc()
        if piece.failures < self._settings.sink_max_attempts:
            waiting.retry_at = time.monotonic() + self._tools.sink_backoff.delay_s(piece.failures)
            self._tools.log.warning(
                "sink_failed",
                partition=piece.batch.partition,
                first_offset=piece.batch.first_offset,
                attempt=piece.failures,
                error=str(error),
            )
            return False
        if len(piece.batch.records) > 1:
            waiting.replace_first(piece.split())
            return True
        return await self._give_up(waiting, piece, DeadLetterReason.SINK_FAILED, error)

    async def _rejected(self, waiting: Waiting, piece: Piece, error: RecordsRejected) -> bool:
        piece.failures += 1
        if self._still_takes_nothing(error):
            return False
        offsets = (error.offsets or frozenset()).intersection(piece.batch.offsets)
        if 0 < len(offsets) < len(piece.batch.offsets):
            return await self._take_the_rest(waiting, piece, error, offsets)
        if len(piece.batch.records) > 1:
            waiting.replace_first(piece.split())
            return True
        return await self._give_up(waiting, piece, DeadLetterReason.SINK_REJECTED, error)

    async def _take_the_rest(
        self, waiting: Waiting, piece: Piece, error: RecordsRejected, offsets: frozenset[int]
    ) -> bool:
        """First set aside, then try what is left: until that is taken too, nothing of the batch is committed."""
        if not self._settings.sink_breaker_after:
            self._sink_is_away(error)
            return False
        await self._set_aside(waiting, piece, offsets, DeadLetterReason.SINK_REJECTED, error)
        return True

    async def _give_up(
        self, waiting: Waiting, piece: Piece, reason: DeadLetterReason, error: BatchFailed | RecordsRejected
    ) -> bool:
        """On a single record; not when the sink has taken nothing for too long."""
        if not self._breaker.may_set_aside():
            self._sink_is_away(error)
            return False
        await self._set_aside(waiting, piece, piece.batch.offsets, reason, error)
        self._breaker.set_aside(1)
        return True

    async def _set_aside(
        self,
        waiting: Waiting,
        piece: Piece,
        offsets: Collection[int],
        reason: DeadLetterReason,
        error: BatchFailed | RecordsRejected,
    ) -> None:
        failure = Failure(reason, str(error), error.cause_name, piece.failures)
        letters = letters_of(piece.batch, offsets, failure, self._settings.group_id, self._settings.service_name)
        await self._tools.dead_letters.publish(letters)
        waiting.replace_first([Piece(piece.batch.without(offsets), piece.polled_at)])

    def _sink_is_away(self, error: Exception) -> None:
        self._breaker.open(time.monotonic())
        self._tools.metrics.sink_retries.inc()
        self._tools.readiness.block(Obstacle.SINK, str(error))

    def _still_takes_nothing(self, error: BatchFailed | RecordsRejected) -> bool:
        """Whether a sink that was down is so still. One that was away, and now fails at a batch, is back."""
        self._sink_answers()
        if self._breaker.is_open:
            self._sink_is_away(error)
            return True
        return False

    def _sink_answers(self) -> None:
        self._breaker.answered()
        if not self._breaker.is_open:
            self._tools.readiness.clear(Obstacle.SINK)

    def _sink_works(self) -> None:
        self._breaker.close()
        self._tools.readiness.clear(Obstacle.SINK)

    async def _timed(self, attempt: Coroutine[Any, Any, Any]) -> Any:
        """Its result. Raises FatalError when it takes so long that the sink counts as stuck."""
        self._busy_since = time.monotonic()
        try:
            async with asyncio.timeout(self._attempt_limit_s) as limit:
                return await attempt
        except TimeoutError:
            if not limit.expired():
                raise
            raise FatalError(
                f"the sink has been at one call for {self._attempt_limit_s:g} s, MAX_POLL_INTERVAL_MS: "
                "it counts as stuck"
            ) from None
        finally:
            self._busy_since = None

    @property
    def in_flight(self) -> int:
        """Records that are polled and not taken."""
        return sum(len(piece.batch.records) for one in self._waiting.values() for piece in one.pieces)

    def _count_in_flight(self) -> None:
        self._tools.metrics.in_flight_records.set(self.in_flight)
