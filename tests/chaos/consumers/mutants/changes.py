"""What is left out or turned round, one function each. They reach into private names on purpose."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from services.consumer.decode import DecodedBatch
from services.consumer.feeder import Feeder
from services.consumer.pipeline import Pipeline
from services.consumer.progress import PartitionProgress
from services.consumer.sinks.alerts.engine import Alarm
from services.consumer.sinks.alerts.webhook import Answer, Verdict, Webhook
from shared.errors import SinkUnavailable


def commit_before_sink() -> None:
    """The offsets of a batch are committed, and then the sink gets it."""

    async def process_late(self: Pipeline, batch: Any, progress: PartitionProgress | None) -> None:
        if progress is None or self._owned.get(batch.partition) is not progress:
            return
        before = self._feeder.feed

        async def feed(batch: DecodedBatch, progress: PartitionProgress) -> None:
            self._taken(batch, progress)
            await self._flush_and_commit()
            await self._tools.sink.write(batch)

        self._feeder.feed = feed  # type: ignore[method-assign]
        try:
            await processed(self, batch, progress)
        finally:
            self._feeder.feed = before  # type: ignore[method-assign]

    processed = Pipeline._process
    Pipeline._process = process_late  # type: ignore[method-assign]


def commit_all_on_revoke() -> None:
    """What was polled is committed when partitions go, whether the sink has it or not: the client's bare commit."""

    async def on_revoked(self: Pipeline, partitions: frozenset[int]) -> None:
        if self._reader is not None and partitions:
            await self._reader._client.commit()
        self._release(list(self._owned))

    Pipeline.on_revoked = on_revoked  # type: ignore[method-assign]


def swallowed_sink_error() -> None:
    """A batch that the sink did not take counts as taken."""

    async def timed(self: Feeder, attempt: Coroutine[Any, Any, None]) -> None:
        with suppress(SinkUnavailable):
            await tried(self, attempt)

    tried = Feeder._timed
    Feeder._timed = timed  # type: ignore[method-assign]


def alarm_given_up() -> None:
    """A webhook that fails or is away counts as one that has taken the alarm."""

    async def post(self: Webhook, alarm: Alarm) -> Answer:
        await posted(self, alarm)
        return Answer(Verdict.DELIVERED, "given up")

    posted = Webhook.post
    Webhook.post = post  # type: ignore[method-assign]


CHANGES: Mapping[str, Callable[[], None]] = {
    change.__name__: change
    for change in (commit_before_sink, commit_all_on_revoke, swallowed_sink_error, alarm_given_up)
}
