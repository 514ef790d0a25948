"""Puts the consumer together: sink, dead letters, pipeline, health, metrics and the line of progress."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from services.consumer.dead_letters import DeadLetterQueue
from services.consumer.metrics import Metrics
from services.consumer.pipeline import Pipeline
from services.consumer.readiness import Readiness
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks import SINKS
from services.consumer.sinks.alerts.sink import AlertsSink
from services.consumer.sinks.base import Measured, Sink
from services.consumer.supervisor import Supervisor
from services.consumer.tools import Tools
from services.consumer.watch import STALLED_AFTER_S, Watch
from shared.backoff import Backoff
from shared.runtime.http import Health, serve_http
from shared.runtime.lifecycle import Shutdown, tune_collector
from shared.runtime.logging import get_logger

BROKER_RETRY_FIRST_S = 0.2
BROKER_RETRY_LONGEST_S = 5.0
SINK_RETRY_FIRST_S = 0.1


def check_files(settings: ConsumerSettings) -> None:
    """Read what ALERTS_FILE and ALERTS_WEBHOOK_URL_FILE name. Raises InvalidSettings."""
    if settings.sink_name == "alerts":
        AlertsSink.from_settings(settings)


async def serve(settings: ConsumerSettings, shutdown: Shutdown) -> None:
    """Consume until a shutdown is requested. Raises FatalError when that cannot go on."""
    registry = CollectorRegistry()
    health = Health(time.monotonic, settings.max_poll_interval_ms / 1000)
    metrics = Metrics(registry, settings.group_id, settings.kafka_topic)
    log = get_logger()
    readiness = Readiness(health, log, time.monotonic, metrics.error)
    broker_backoff = Backoff(BROKER_RETRY_FIRST_S, BROKER_RETRY_LONGEST_S, random.random)
    sink_backoff = Backoff(SINK_RETRY_FIRST_S, settings.sink_retry_max_ms / 1000, random.random)
    dead_letters = DeadLetterQueue(settings, readiness, health, metrics, log, broker_backoff, shutdown)

    async with _opened(SINKS[settings.sink_name](settings), metrics) as sink, serve_http(settings, health, registry):
        tools = Tools(sink, dead_letters, readiness, health, metrics, log, sink_backoff, shutdown)
        pipeline = Pipeline(settings, tools)
        settle_timeout_s = (settings.rebalance_timeout_ms + settings.session_timeout_ms) / 1000 + STALLED_AFTER_S
        watch = Watch(pipeline, readiness, metrics, time.monotonic, _wall_ms, settle_timeout_s)
        supervisor = Supervisor(pipeline, watch, readiness, health, broker_backoff, shutdown)
        tune_collector()
        async with _reporting(settings, pipeline, watch):
            try:
                await supervisor.run(settings.shutdown_timeout_s)
            finally:
                await dead_letters.close()


@asynccontextmanager
async def _opened(sink: Sink, metrics: Metrics) -> AsyncIterator[Sink]:
    if isinstance(sink, Measured):
        sink.measure(metrics)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def _reporting(settings: ConsumerSettings, pipeline: Pipeline, watch: Watch) -> AsyncIterator[None]:
    """Log a line of progress at the interval while the context is open, and one at the end."""
    report = Report(settings.group_id, pipeline, watch, time.monotonic)
    task = asyncio.create_task(_report_every(settings.report_interval_s, report))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        get_logger().info("progress", **report.take())


async def _report_every(interval_s: float, report: Report) -> None:
    """From a thread: when a reader holds up stdout, the line waits and the heartbeats do not."""
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(get_logger().info, "progress", **report.take())


class Report:
    """What a replica says of itself at each interval. `now` is monotonic, in seconds."""

    def __init__(self, group: str, pipeline: Pipeline, watch: Watch, now: Callable[[], float]) -> None:
        self._group = group
        self._pipeline = pipeline
        self._watch = watch
        self._now = now
        self._last = (now(), pipeline.processed_total)

    def take(self) -> dict[str, Any]:
        """The fields of the next line; the rate is of the time since the last one. Unknown is null, not 0."""
        (before, processed_before), now, processed = self._last, self._now(), self._pipeline.processed_total
        self._last = (now, processed)
        owned = sorted(self._pipeline.owned)
        lags = [lag for partition, lag in self._watch.lag.items() if partition in owned]
        records = [lag.records for lag in lags if lag.records is not None]
        seconds = [lag.seconds for lag in lags if lag.seconds is not None]
        return {
            "group": self._group,
            "partitions": owned,
            "records_per_s": round((processed - processed_before) / max(now - before, 1e-9), 1),
            "processed": processed,
            "in_flight": self._pipeline.in_flight,
            "lag_records": sum(records) if owned and len(records) == len(owned) else None,
            "lag_s": round(max(seconds, default=0.0), 1) if owned and len(seconds) == len(owned) else None,
        }
