"""A run from beginning to end: fence, read what is resolved, parse the rest, publish records and markers together.

Records and the markers of their dead letters are committed in one transaction, and the start of a run fences every
earlier one before it reads the markers: a line is sent by one run alone, whatever is killed when.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from services.producer.deliver.partition import Partitioner
from services.producer.replay_dead_letters.letters import Line, Report, Resolved, line_of, parse_again, refusal
from services.producer.settings import ProducerSettings
from services.producer.tools.command import say
from services.producer.tools.marks import replay_headers
from services.producer.tools.progress import Progress
from shared.backoff import Backoff
from shared.errors import RetryableError
from shared.kafka.records import ReceivedRecord
from shared.kafka.scan import Span, scan, spans
from shared.kafka.transactions import Outgoing, TransactionalPublisher
from shared.schemas import DeadLetterReason

MAX_ATTEMPTS = 5
BACKOFF = Backoff(0.5, 5.0, random.random)
# One transaction: what is resolved together, or not at all.
MAX_LINES = 500
MAX_BYTES = 4 * 1024 * 1024


async def replay_dead_letters(settings: ProducerSettings, reasons: Collection[DeadLetterReason]) -> Report:
    """Every dead letter that is a record now becomes one. Raises FatalError, or RetryableError after MAX_ATTEMPTS."""
    report = Report()
    attempt = 0
    while True:
        try:
            await _Run(settings, reasons, report).run()
        except RetryableError as error:
            attempt += 1
            if attempt == MAX_ATTEMPTS:
                raise
            say(f"{error}. Starting over: what was committed is read first.")
            await asyncio.sleep(BACKOFF.delay_s(attempt))
        else:
            return report


class _Run:
    """One incarnation of the Kafka client."""

    def __init__(self, settings: ProducerSettings, reasons: Collection[DeadLetterReason], report: Report) -> None:
        self._settings = settings
        self._reasons = reasons
        self._report = report
        self._parser = settings.make_parser()
        self._resolved = Resolved()
        self._lines: list[Line] = []
        self._outgoing: list[Outgoing] = []
        self._outgoing_bytes = 0
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._mark = replay_headers(f"{started_at}-{secrets.token_hex(4)}", started_at)

    async def run(self) -> None:
        """Raises RetryableError or FatalError; what is not committed then is sent by the next run."""
        settings = self._settings
        self._report.begin()
        topics = (settings.kafka_topic, settings.kafka_dead_letter_topic)
        fence = f"replay-dead-letters-{settings.kafka_dead_letter_topic}-{settings.source_host}"
        self._publisher = await TransactionalPublisher.start(settings, fence, topics)
        try:
            self._partitioner = Partitioner(settings.partition_by, self._publisher.partition_count(topics[0]))
            # Behind the fence: from here on nobody else resolves a line of this host.
            held = await spans(settings, settings.kafka_dead_letter_topic)
            await self._read("markers", held, self._note_markers)
            await self._read("dead letters", held, self._take)
            await self._publish()
        finally:
            await self._publisher.close()

    async def _read(
        self,
        what: str,
        held: Mapping[int, Span],
        use: Callable[[int, Sequence[ReceivedRecord]], Awaitable[None]],
    ) -> None:
        """What is committed in the dead-letter topic."""
        progress = Progress(what, sum(span.size for span in held.values()), "records", time.monotonic)
        topic = self._settings.kafka_dead_letter_topic
        async for batch in scan(self._settings, topic, held, committed_only=True):
            await use(batch.partition, batch.records)
            progress.add(len(batch.records))
        progress.finish()

    async def _note_markers(self, _partition: int, records: Sequence[ReceivedRecord]) -> None:
        for record in records:
            self._resolved.add_marker(record.headers, self._settings.source_host)

    async def _take(self, partition: int, records: Sequence[ReceivedRecord]) -> None:
        for record in records:
            place = (partition, record.offset)
            line = line_of(record.value or b"", record.key, record.headers, self._settings.source_host, place)
            if line is None or line.letter.reason not in self._reasons:
                continue
            if (line.generation, line.offset) in self._resolved:
                self._report.resolved_before += 1
            elif message := refusal(line) or self._queue(line):
                self._report.keep(line, message)
            if len(self._lines) >= MAX_LINES or self._outgoing_bytes >= MAX_BYTES:
                await self._publish()

    def _queue(self, line: Line) -> str | None:
        """Line up record and marker of a line; or why it is no record still."""
        parsed = parse_again(self._parser, line)
        if not parsed.values:
            return parsed.rejects[0].message if parsed.rejects else "the line is blank"
        [value], [partition], [key] = parsed.values, *self._partitioner.assign(parsed)
        if len(value) + len(key or b"") > self._publisher.max_record_bytes:
            return f"its record has {len(value)} bytes, the topic takes {self._publisher.max_record_bytes}"
        settings, letter = self._settings, line.letter
        marker_headers = [*line.marker_headers(), *self._mark]
        self._outgoing += [
            Outgoing(settings.kafka_topic, partition, key, value, self._mark),
            Outgoing(settings.kafka_dead_letter_topic, line.partition, letter.key, b"", marker_headers),
        ]
        self._outgoing_bytes += len(value)
        self._lines.append(line)
        self._resolved.add(line.generation, line.offset, letter.raw_length)
        return None

    async def _publish(self) -> None:
        """Commit what is lined up."""
        if self._outgoing:
            await self._publisher.publish(self._outgoing)
        self._report.sent.update(line.letter.reason.value for line in self._lines)
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._lines.clear()
