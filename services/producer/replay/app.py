"""A replay from beginning to end: find the file, check the range, show it, ask, send, say where it went."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.producer.deliver.checkpoint import Checkpoint
from services.producer.deliver.delivered import Delivered
from services.producer.deliver.outbox import Outbox
from services.producer.deliver.progress import Progress as Positions
from services.producer.deliver.session import Session
from services.producer.parse import ParsedChunk
from services.producer.replay.selection import Preview, Selection, line_boundaries, parse_bound, select
from services.producer.settings import ProducerSettings
from services.producer.tools.logs import Log, Logs
from services.producer.tools.newest import newest_checkpoint
from shared.errors import FatalError, InvalidSettings, RetryableError
from shared.kafka.producer import BatchPublisher, DeliveryReport
from shared.runtime.lifecycle import happens
from shared.tools.command import confirmed, require_terminal, say
from shared.tools.marks import replay_headers
from shared.tools.progress import Progress

CHECK_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Request:
    """What was asked for, as it was typed."""

    file: str
    start: str | None
    end: str | None
    yes: bool


@dataclass
class Sent:
    """Where the records went: by topic and partition the number of them, the first and the last offset."""

    run_id: str
    places: dict[tuple[str, int], tuple[int, int, int]] = field(default_factory=dict)

    def on_report(self, report: DeliveryReport) -> None:
        """Take note of a confirmed batch."""
        if report.error is not None:
            return
        place, last = (report.topic, report.partition), report.first_offset + report.record_count - 1
        count, lowest, highest = self.places.get(place, (0, report.first_offset, last))
        count += report.record_count
        self.places[place] = (count, min(lowest, report.first_offset), max(highest, last))

    def lines(self) -> Iterator[str]:
        """In words."""
        for (topic, partition), (count, lowest, highest) in sorted(self.places.items()):
            yield f"  {topic}, partition {partition}: {count:,} records, offsets {lowest} to {highest}"
        total = sum(count for count, *_offsets in self.places.values())
        yield f"Sent again and confirmed: {total:,}. Each has the header replay={self.run_id}."


async def replay(settings: ProducerSettings, request: Request) -> Sent | None:
    """Send again what was asked for; None when the person said no.

    Raises InvalidSettings for a file or range that is not there, FatalError when it could not be sent whole.
    """
    bounds = parse_bound("FROM", request.start), parse_bound("TO", request.end)
    logs = Logs(settings, await newest_checkpoint(settings))
    try:
        log = find_log(logs.found, request.file)
        selection = select(*bounds, log.end)
        _check_boundaries(logs, log, selection)
        source = _Source(settings, logs, log, selection)
        preview = _preview(source, selection)
        say(f"From {log.path}: {preview.sentence()}.")
        if not (preview.records or preview.dead_letters):
            raise InvalidSettings("nothing lies in this range")
        require_terminal(yes=request.yes)
        if not request.yes and not confirmed("Consumers get these again."):
            return None
        return await _send(settings, source, log, selection)
    finally:
        logs.close()


def find_log(found: Sequence[Log], wanted: str) -> Log:
    """The file at this path now, or of this generation, or that was first followed under this path."""
    for name in ("path", "identity.generation", "identity.path"):
        for log in found:
            value = log.path if name == "path" else getattr(log.identity, name.removeprefix("identity."))
            if value == wanted and log.confirmed is not None:
                return log
    known = "".join(f"\n  {log.path}  ({log.end:,} bytes confirmed)" for log in found if log.confirmed is not None)
    raise InvalidSettings(f"FILE={wanted!r} is not known to the producer. Known:{known or ' nothing'}")


def _check_boundaries(logs: Logs, log: Log, selection: Selection) -> None:
    for chunk in logs.chunks(log):
        for name, position in (("FROM", selection.start), ("TO", selection.end)):
            if chunk.start <= position < chunk.end:
                before, after = line_boundaries(chunk, position)
                if before != position:
                    raise InvalidSettings(
                        f"{name}={position} is inside of a line; the nearest lines begin at {before} and {after}"
                    )


def _preview(source: _Source, selection: Selection) -> Preview:
    preview = Preview()
    progress = Progress("looked at", selection.end - selection.start, "bytes", time.monotonic)
    for parsed in source.pieces():
        preview.add(parsed)
        progress.add(parsed.chunk.end - parsed.chunk.start)
    progress.finish()
    return preview


class _Source:
    """The pieces of the file that are meant, as often as they are asked for."""

    def __init__(self, settings: ProducerSettings, logs: Logs, log: Log, selection: Selection) -> None:
        self._parser = settings.make_parser()
        self._logs, self._log, self._selection = logs, log, selection

    def pieces(self) -> Iterator[ParsedChunk]:
        selection = self._selection
        for chunk in self._logs.chunks(self._log, selection.start, selection.end):
            yield selection.of(self._parser.parse(chunk))


async def _send(settings: ProducerSettings, source: _Source, log: Log, selection: Selection) -> Sent:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    sent = Sent(f"{started_at}-{secrets.token_hex(4)}")
    positions = Positions(())
    progress = Progress("sent", selection.end - selection.start, "bytes", time.monotonic)
    changed = asyncio.Event()
    outbox = Outbox(
        settings.outbox_settings(replay_headers(sent.run_id, started_at)),
        positions,
        now=time.monotonic,
        wall_clock_ms=lambda: time.time_ns() // 1_000_000,
        on_report=[sent.on_report],
        on_confirmed=[lambda parsed: progress.add(parsed.chunk.end - parsed.chunk.start)],
        tails={},
    )
    outbox.on_change = changed.set
    try:
        await _pump(settings, source, outbox, changed)
    except RetryableError as error:
        raise FatalError(f"{error}. {_how_to_go_on(positions, selection, log, sent)}") from error
    except asyncio.CancelledError:
        say(_how_to_go_on(positions, selection, log, sent))
        raise
    progress.finish()
    return sent


def _how_to_go_on(positions: Positions, selection: Selection, log: Log, sent: Sent) -> str:
    position = next((file.position for file in positions.snapshot()), selection.start)
    return (
        f"Confirmed are bytes {selection.start} to {position} of {log.path}; go on with FROM={position}. "
        f"What was in flight behind it may be there already, as replay={sent.run_id}."
    )


async def _pump(settings: ProducerSettings, source: _Source, outbox: Outbox, changed: asyncio.Event) -> None:
    """Everything through one Kafka client. Raises its failure."""
    topics = (settings.kafka_topic, settings.kafka_dead_letter_topic)
    publisher = await BatchPublisher.start(
        settings, topics, compression_type=settings.compression_type, max_batch_bytes=settings.max_batch_bytes
    )
    # Nothing is passed over because it is there already: it is meant to be sent again.
    nothing = Delivered(settings.source_host)
    try:
        outbox.use(Session(publisher, nothing, {}, {}, Checkpoint(), None))
        for parsed in source.pieces():
            while not outbox.has_room:
                outbox.check()
                changed.clear()
                await happens(changed, CHECK_INTERVAL_S)
            await outbox.submit(parsed)
        await outbox.drain()
    except BaseException:
        await publisher.abandon()
        raise
    await publisher.close()
