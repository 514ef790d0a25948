"""Composition root: makes the parts of the producer from its settings and runs them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import lru_cache, partial

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from services.producer.chunk import MAX_REMEMBERED_FILES
from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.checkpoint_writer import CheckpointWriter
from services.producer.deliver.outbox import Outbox
from services.producer.deliver.progress import Progress
from services.producer.deliver.session import AtLeastOnceSessions, DeliveryTarget, ExactlyOnceSessions, Sessions
from services.producer.deliver.state import Owner
from services.producer.follow import Follower
from services.producer.follow.descriptors import allow_many_files, most_followed_files
from services.producer.follow.identity import folder_inode, new_patterns
from services.producer.follow.open_file import ReadLimits
from services.producer.ledger import Ledger
from services.producer.metrics import ProducerMetrics
from services.producer.nginx.choice import FormatChoice
from services.producer.parse import ChunkParser, CompiledFormat
from services.producer.pipeline import Pipeline, PipelineLimits
from services.producer.settings import Delivery, ProducerSettings
from services.producer.status import LOOK_INTERVAL_S, Status, Watched
from shared.backoff import Backoff
from shared.errors import RetryableError
from shared.kafka.producer import BatchPublisher, DeliveryReport
from shared.runtime.http import Health, every, serve_http
from shared.runtime.lifecycle import Shutdown, tune_collector
from shared.runtime.logging import get_logger

# The main loop comes round at least once per scan; a minute without one is no load but a fault.
STALLED_AFTER_S = 60.0
FIND_CHECKPOINT_TIMEOUT_S = 5.0
FIND_CHECKPOINT_INTERVAL_S = 0.5
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
# Of the time that SIGTERM leaves, what is kept for the last checkpoint and for closing.
CLOSING_S = 5.0


async def serve(settings: ProducerSettings, shutdown: Shutdown) -> None:
    """Run the producer until a shutdown. Raises FatalError."""
    parser = _make_parser(settings)
    allow_many_files()
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = ProducerMetrics(registry)
    health = Health(time.monotonic, STALLED_AFTER_S)
    store = CheckpointStore(settings.checkpoint_file)
    lock = _lock(store)
    last = store.load()
    status = Status(settings.delivery, health, metrics, now=time.monotonic, wall_clock_s=time.time)
    async with serve_http(settings, health, registry, status.describe):
        sessions = _sessions(settings, lock)
        if isinstance(sessions, ExactlyOnceSessions) and (last is None or not last.sequence):
            last = await _find_checkpoint(sessions, health, shutdown) or last
        if not shutdown.requested:
            await _run(settings, shutdown, store, last, parser, sessions, metrics, health, status)


async def _run(
    settings: ProducerSettings,
    shutdown: Shutdown,
    store: CheckpointStore,
    found: Checkpoint | None,
    parser: ChunkParser,
    sessions: Sessions,
    metrics: ProducerMetrics,
    health: Health,
    status: Status,
) -> None:
    """Follow and deliver, going on from the checkpoint that was found."""
    last = found or Checkpoint()
    patterns = {pattern: folder_inode(pattern) for pattern in settings.log_files}
    progress, ledger = Progress(last.files), Ledger()
    follower = Follower(
        settings.log_files,
        known=last.files,
        start_at_end=new_patterns(patterns, last.patterns) if settings.start_at == "end" else (),
        limits=ReadLimits.for_lines(settings.max_line_bytes),
        retire_after_s=settings.retire_after_s,
        max_open_files=most_followed_files(),
    )
    outbox = Outbox(
        settings.outbox_settings(),
        progress,
        now=time.monotonic,
        wall_clock_ms=lambda: time.time_ns() // 1_000_000,
        on_report=[metrics.on_report, _log_report],
        on_confirmed=[metrics.on_confirmed, ledger.settle],
        tails=last.tails,
    )
    pipeline = Pipeline(
        follower,
        parser,
        outbox,
        progress,
        ledger,
        CheckpointWriter(store, replace(last, patterns=patterns), progress, outbox, metrics.on_checkpoint),
        found is None or not found.sequence,
        sessions,
        Backoff(FIRST_BACKOFF_S, LONGEST_BACKOFF_S, random.random),
        _limits(settings),
        metrics,
        health,
    )
    status.watch(Watched(follower, outbox, progress, ledger, pipeline))
    reporter = _Reporter(follower, outbox, metrics, status)
    repeated = [
        asyncio.create_task(every(settings.report_interval_s, reporter.report)),
        asyncio.create_task(every(LOOK_INTERVAL_S, status.look)),
    ]
    tune_collector()
    get_logger().info("producer_started", log_files=list(settings.log_files), topic=settings.kafka_topic)
    try:
        await pipeline.run(shutdown)
    finally:
        for task in repeated:
            task.cancel()


def _lock(store: CheckpointStore) -> str:
    """The name of the lock on the checkpoint; a name that is nobody's where there can be none. Raises FatalError."""
    try:
        return store.lock()
    except OSError as error:
        get_logger().warning("checkpoint_unlocked", error=error.strerror, path=error.filename)
        return uuid.uuid4().hex


def _sessions(settings: ProducerSettings, lock: str) -> ExactlyOnceSessions | AtLeastOnceSessions:
    async def publish(topics: Sequence[str], transactional_id: str | None) -> BatchPublisher:
        return await BatchPublisher.start(
            settings,
            topics,
            compression_type=settings.compression_type,
            max_batch_bytes=settings.max_batch_bytes,
            transactional_id=transactional_id,
        )

    target = DeliveryTarget(
        settings,
        (settings.kafka_topic, settings.kafka_dead_letter_topic),
        settings.source_host,
        lambda path: any(fnmatch(path, pattern) for pattern in settings.log_files),
        publish,
    )
    if settings.delivery is Delivery.AT_LEAST_ONCE:
        return AtLeastOnceSessions(target)
    owner = Owner(
        instance=uuid.uuid4().hex,
        host=socket.gethostname(),
        process=os.getpid(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lock=lock,
    )
    return ExactlyOnceSessions(target, settings.kafka_state_topic, settings.producer_name, owner)


async def _find_checkpoint(sessions: ExactlyOnceSessions, health: Health, shutdown: Shutdown) -> Checkpoint | None:
    """The checkpoint in Kafka, for a start that has none of a run which was ever connected.

    Without a broker it is not waited for long: files that rotate meanwhile must be seen. The pipeline starts over when
    it finds one later.
    """
    now = asyncio.get_running_loop().time
    give_up_at = now() + FIND_CHECKPOINT_TIMEOUT_S
    while not shutdown.requested and now() < give_up_at:
        try:
            async with asyncio.timeout_at(give_up_at):
                found = await shutdown.cut_short(sessions.find())
        except (RetryableError, TimeoutError) as error:
            health.not_ready_because = str(error) or "no broker has answered in time"
            await shutdown.wait_at_most(FIND_CHECKPOINT_INTERVAL_S)
            continue
        if found is not None:
            get_logger().info("checkpoint_found_in_kafka", files=len(found.files), sequence=found.sequence)
        return found
    return None


def _limits(settings: ProducerSettings) -> PipelineLimits:
    return PipelineLimits(
        scan_interval_s=settings.scan_interval_ms / 1000,
        checkpoint_interval_s=settings.checkpoint_interval_ms / 1000,
        drain_timeout_s=max(0.5, settings.shutdown_timeout_s - CLOSING_S),
        fence_interval_s=settings.fence_interval_s,
    )


def _make_parser(settings: ProducerSettings) -> ChunkParser:
    """The parser with the format of each file. Raises InvalidSettings."""
    formats = settings.read_formats()
    for note in formats.notes:
        get_logger().warning("nginx_log_not_followed", note=note)
    format_of = lru_cache(MAX_REMEMBERED_FILES)(partial(_choose_format, formats))
    return ChunkParser(format_of, settings.source_host)


def _choose_format(formats: FormatChoice, path: str) -> CompiledFormat:
    """The format of a file, told when the file is first parsed."""
    chosen = formats.of_file(path)
    told = {"path": path, "format": chosen.format.name, "reason": chosen.reason}
    if chosen.is_doubtful:
        get_logger().warning("format_chosen", **told)
    else:
        get_logger().info("format_chosen", **told)
    return chosen.format


def _log_report(report: DeliveryReport) -> None:
    """Every delivery report is in the debug log; failures are logged by the pipeline once per state change."""
    get_logger().debug(
        "batch_delivered" if report.error is None else "batch_failed",
        topic=report.topic,
        partition=report.partition,
        first_offset=report.first_offset,
        record_count=report.record_count,
        latency_ms=round(report.latency_s * 1000, 3),
        error=str(report.error) if report.error else None,
    )


class _Reporter:
    """The periodic line in the log, and the gauges that are sampled with it."""

    def __init__(self, follower: Follower, outbox: Outbox, metrics: ProducerMetrics, status: Status) -> None:
        self._follower = follower
        self._outbox = outbox
        self._metrics = metrics
        self._status = status
        self._records = 0.0
        self._reported_at = time.monotonic()

    def report(self) -> None:
        now = time.monotonic()
        records = _value(self._metrics.records)
        rate = (records - self._records) / (now - self._reported_at)
        self._records, self._reported_at = records, now
        files = list(self._follower.files)
        unread_bytes = sum(max(0, file.size - file.position) for file in files)
        self._metrics.files.set(len(files))
        self._metrics.unread_bytes.set(unread_bytes)
        get_logger().info(
            "progress",
            files=len(files),
            records=int(records),
            records_per_s=round(rate, 1),
            unread_bytes=unread_bytes,
            in_flight_bytes=self._outbox.in_flight_bytes,
            stuck_files=self._status.stuck_count,
        )


def _value(counter: object) -> float:
    """The value of a counter without labels, through the library's public `collect`."""
    samples = next(iter(counter.collect())).samples  # type: ignore[attr-defined]
    return float(next(sample.value for sample in samples if sample.name.endswith("_total")))
