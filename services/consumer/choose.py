"""Leaves out of a batch what the consumer does not want, and tells of it."""

from __future__ import annotations

from collections.abc import Callable

from services.consumer.decode import DecodedBatch
from services.consumer.selection import Selector
from services.consumer.settings import ConsumerSettings
from services.consumer.tools import Tools
from services.consumer.where import Where

TELL_INTERVAL_S = 60.0


class Chooser:
    """`now` is monotonic, in seconds."""

    def __init__(self, settings: ConsumerSettings, tools: Tools, now: Callable[[], float]) -> None:
        where = None if settings.where is None else Where(settings.where)
        self._selector = Selector(where, settings.sample_ratio)
        self._tools = tools
        self._now = now
        self._untold = 0
        self._told_at: float | None = None

    def choose(self, batch: DecodedBatch) -> DecodedBatch:
        """The same range of offsets with the records that are wanted."""
        selected = self._selector.select(batch)
        for reason, count in selected.skipped.items():
            self._tools.metrics.skipped(batch.partition, reason, count)
        if selected.failed:
            self._tools.metrics.filter_failed(batch.partition, selected.failed)
            self._tell(batch.partition, selected.failed, selected.failure)
        return selected.batch

    def _tell(self, partition: int, failed: int, failure: str) -> None:
        """At most once in TELL_INTERVAL_S: a field that is often null would fill the log."""
        self._untold += failed
        now = self._now()
        if self._told_at is None or now - self._told_at >= TELL_INTERVAL_S:
            self._tools.log.warning("filter_failed", partition=partition, count=self._untold, error=failure)
            self._untold, self._told_at = 0, now
