"""Looks after a membership from outside: does the broker answer, how far behind is each partition, does it move.

What the broker keeps is asked here as well, when a gap was seen: a loss is told within seconds, and no record waits.

A client can be alive and stuck after a broker came back, and it only logs lost connections: readiness rests on what is
seen here, and a membership that stands still is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.consumer.metrics import Metrics
from services.consumer.pipeline import Pipeline
from services.consumer.progress import PartitionProgress
from services.consumer.readiness import Obstacle, Readiness
from shared.errors import BrokerUnavailable, FatalError, PipelineError, RetryableError
from shared.kafka.consumer import GroupReader

LOOK_INTERVAL_S = 2.0
ANSWER_TIMEOUT_S = 5.0
POSITION_TIMEOUT_S = 1.0
STALLED_AFTER_S = 30.0
SINK_BUSY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far one partition is behind its end; None while unknown. `seconds` is an upper bound."""

    records: int | None
    seconds: float | None


class Watch:
    """Looks every LOOK_INTERVAL_S. `now` is monotonic, in seconds; `wall_ms` is the time of day, as Kafka's stamps."""

    def __init__(
        self,
        pipeline: Pipeline,
        readiness: Readiness,
        metrics: Metrics,
        now: Callable[[], float],
        wall_ms: Callable[[], int],
        settle_timeout_s: float,
    ) -> None:
        self._pipeline = pipeline
        self._readiness = readiness
        self._metrics = metrics
        self._now = now
        self._wall_ms = wall_ms
        self._settle_timeout_s = settle_timeout_s
        self._stood_since: dict[int, tuple[int, float]] = {}
        self.lag: Mapping[int, Lag] = {}
        self.verdict: PipelineError | None = None

    async def run(self, reader: GroupReader) -> None:
        """Look until cancelled, or until the membership cannot go on: then `verdict` says why."""
        self.verdict = None
        self._stood_since = {}
        while self.verdict is None:
            self._look_at_the_sink()
            try:
                await self._look(reader)
            except FatalError as error:  # the broker refuses this client: no new membership would mend that
                self.verdict = error
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _look_at_the_sink(self) -> None:
        """One that never returns never fails either; the pipeline takes this back when the sink works."""
        if self._pipeline.sink_busy_for_s(self._now()) > SINK_BUSY_AFTER_S:
            self._readiness.block(Obstacle.SINK, f"the sink has been at one call for more than {SINK_BUSY_AFTER_S:g} s")

    async def _look(self, reader: GroupReader) -> None:
        owned = self._pipeline.owned
        try:
            ends = await reader.end_offsets(owned, ANSWER_TIMEOUT_S)
            await self._pipeline.tell_missing(reader)
        except RetryableError as error:
            self._readiness.block(Obstacle.BROKER, str(error))
            self._stood_since = {}
            self._note_lag({partition: Lag(None, None) for partition in owned})
            return
        self._readiness.clear(Obstacle.BROKER)
        found = await asyncio.gather(*(reader.position(partition, POSITION_TIMEOUT_S) for partition in owned))
        positions = dict(zip(owned, found, strict=True))
        if owned.keys() != self._pipeline.owned.keys():
            return  # reassigned while asking
        self._note_lag(
            {
                partition: measure_lag(progress, positions[partition], ends.get(partition), self._wall_ms())
                for partition, progress in owned.items()
            }
        )
        self._judge(positions, ends, reader.joining_for_s)

    def _note_lag(self, lag: Mapping[int, Lag]) -> None:
        self.lag = lag
        for partition, one in lag.items():
            self._metrics.lag(partition, one.records, one.seconds)

    def _judge(self, positions: Mapping[int, int | None], ends: Mapping[int, int], joining_for_s: float) -> None:
        """Set the verdict when the broker answers, records wait, nothing holds them up here, and yet none arrives."""
        if joining_for_s > self._settle_timeout_s:
            self.verdict = BrokerUnavailable(f"the group has not settled for {joining_for_s:.0f} s")
        now = self._now()
        for partition, position in positions.items():
            waiting = position is None or position < ends.get(partition, 0)
            if not waiting or self._pipeline.in_flight or partition in self._pipeline.waiting:
                self._stood_since.pop(partition, None)
                continue
            stood_at, since = self._stood_since.setdefault(partition, (-1 if position is None else position, now))
            if stood_at != (-1 if position is None else position):
                del self._stood_since[partition]
            elif now - since > STALLED_AFTER_S:
                self.verdict = BrokerUnavailable(f"partition {partition} stands still at {position}")


def measure_lag(progress: PartitionProgress, position: int | None, end: int | None, wall_ms: int) -> Lag:
    """The lag of a partition whose next offset to be polled is `position`. Pure.

    With everything polled also processed, the position counts, which knows of offsets that hold no record.
    """
    done_to = position if progress.durable_to == progress.received_to else progress.durable_to
    if done_to is None or end is None:
        return Lag(None, None)
    records = max(0, end - done_to)
    if records == 0:
        return Lag(0, 0.0)
    newest_ms = progress.newest_timestamp_ms
    return Lag(records, None if newest_ms is None else max(0.0, (wall_ms - newest_ms) / 1000))
