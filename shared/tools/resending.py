"""Dead letters become records, each once, whatever is killed when.

A record and the marker of its dead letter are committed in one transaction, and the start of a run fences every earlier
one of its name before it reads the markers: a letter is sent by one run alone. What is sent for which letter, a Plan
decides.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.backoff import Backoff
from shared.errors import BrokerUnavailable, RetryableError
from shared.kafka.producer import RECORD_OVERHEAD_BYTES
from shared.kafka.records import ReceivedRecord
from shared.kafka.scan import Span, scan, spans
from shared.kafka.topics import max_message_bytes
from shared.kafka.transactions import Outgoing, TransactionalPublisher
from shared.runtime.settings import KafkaSettings
from shared.schemas.dead_letter import Headers
from shared.tools.command import say
from shared.tools.marks import replay_headers
from shared.tools.progress import Progress

MAX_ATTEMPTS = 5
BACKOFF = Backoff(0.5, 5.0, random.random)
# One transaction: what is resolved together, or not at all.
MAX_LETTERS = 500
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where records go; `mark` are the headers of all that one run sends."""

    partition_count: int
    max_record_bytes: int
    mark: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Resend:
    """The record of one dead letter, and the marker that says in the dead-letter topic that it was sent."""

    reason: str
    record: Outgoing
    marker: Outgoing


class Plan(Protocol):
    """What becomes of the dead letters. Everything is read anew after each `begin`: what was committed is marked."""

    def begin(self, target: Target) -> None:
        """Another reading begins; forget the one before."""

    def note_marker(self, headers: Headers) -> None:
        """A record of the dead-letter topic, looked at before the first `take`: it may be a marker."""

    def take(self, partition: int, record: ReceivedRecord) -> Resend | None:
        """A record of the dead-letter topic, and what is to be sent for it; that counts as sent from now on."""

    def on_sent(self, reasons: Counter[str]) -> None:
        """So many of these were committed."""


async def look(settings: KafkaSettings, plan: Plan) -> None:
    """Let the plan see everything, and send nothing. Raises RetryableError or FatalError."""
    partition_count = len(await spans(settings, settings.kafka_topic))
    if not partition_count:
        raise BrokerUnavailable(f"topic {settings.kafka_topic} does not exist yet; the `topics` service makes it")
    limit_bytes = await max_message_bytes(settings, (settings.kafka_topic, settings.kafka_dead_letter_topic))
    plan.begin(Target(partition_count, limit_bytes - RECORD_OVERHEAD_BYTES, ()))

    async def take(partition: int, record: ReceivedRecord) -> None:
        plan.take(partition, record)

    await _read_all(settings, plan, take)


async def send(settings: KafkaSettings, fence: str, plan: Plan) -> None:
    """Send what the plan says. Raises FatalError, or RetryableError after MAX_ATTEMPTS."""
    attempt = 0
    while True:
        try:
            await _Run(settings, fence, plan).run()
        except RetryableError as error:
            attempt += 1
            if attempt == MAX_ATTEMPTS:
                raise
            say(f"{error}. Starting over: what was committed is read first.")
            await asyncio.sleep(BACKOFF.delay_s(attempt))
        else:
            return


class _Run:
    """One incarnation of the Kafka client."""

    def __init__(self, settings: KafkaSettings, fence: str, plan: Plan) -> None:
        self._settings = settings
        self._fence = fence
        self._plan = plan
        self._queue: list[Resend] = []
        self._queue_bytes = 0

    async def run(self) -> None:
        """Raises RetryableError or FatalError; what is not committed then is sent by the next run."""
        topics = (self._settings.kafka_topic, self._settings.kafka_dead_letter_topic)
        self._publisher = await TransactionalPublisher.start(self._settings, self._fence, topics)
        try:
            started_at = datetime.now(UTC).isoformat(timespec="seconds")
            mark = replay_headers(f"{started_at}-{secrets.token_hex(4)}", started_at)
            count = self._publisher.partition_count(topics[0])
            self._plan.begin(Target(count, self._publisher.max_record_bytes, mark))
            # Behind the fence: from here on nobody else sends what this plan does.
            await _read_all(self._settings, self._plan, self._take)
            await self._publish()
        finally:
            await self._publisher.close()

    async def _take(self, partition: int, record: ReceivedRecord) -> None:
        if resend := self._plan.take(partition, record):
            self._queue.append(resend)
            self._queue_bytes += len(resend.record.value)
        if len(self._queue) >= MAX_LETTERS or self._queue_bytes >= MAX_BYTES:
            await self._publish()

    async def _publish(self) -> None:
        """Commit what is lined up."""
        if self._queue:
            await self._publisher.publish([one for resend in self._queue for one in (resend.record, resend.marker)])
        self._plan.on_sent(Counter(resend.reason for resend in self._queue))
        self._queue.clear()
        self._queue_bytes = 0


async def _read_all(
    settings: KafkaSettings, plan: Plan, take: Callable[[int, ReceivedRecord], Awaitable[None]]
) -> None:
    """What is committed in the dead-letter topic now: first all markers, then all letters."""

    async def note(_partition: int, record: ReceivedRecord) -> None:
        plan.note_marker(record.headers)

    held = await spans(settings, settings.kafka_dead_letter_topic)
    await _read(settings, held, "markers", note)
    await _read(settings, held, "dead letters", take)


async def _read(
    settings: KafkaSettings,
    held: Mapping[int, Span],
    what: str,
    use: Callable[[int, ReceivedRecord], Awaitable[None]],
) -> None:
    progress = Progress(what, sum(span.size for span in held.values()), "records", time.monotonic)
    async for batch in scan(settings, settings.kafka_dead_letter_topic, held, committed_only=True):
        for record in batch.records:
            await use(batch.partition, record)
        progress.add(len(batch.records))
    progress.finish()
