"""One connection to Kafka after the other: how each begins, so that nothing is lost and, if wanted, nothing is doubled.

Exactly once, a session begins in this order: make sure that no other producer of this name is alive; raise the fence
against every dead one; read what the state topic and the tails of the topics hold; write down who is here now. Only
then are lines sent. docs/delivery.md has the reasons.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.producer.deliver.checkpoint import Checkpoint, TopicOffsets
from services.producer.deliver.delivered import Delivered
from services.producer.deliver.state import KeptState, Owner, StateRecords, TailRange, tail_range
from shared.errors import BrokerUnavailable, Fenced, RetryableError, StandingBy
from shared.kafka.log_reader import LogReader, Place, open_log_reader
from shared.kafka.producer import BatchPublisher
from shared.runtime.logging import get_logger
from shared.runtime.settings import KafkaSettings

# A producer tells so often that it is alive, with or without news. One that is silent for the lease may be followed.
HEARTBEAT_INTERVAL_S = 2.0
LEASE_S = 10.0
LEASE_CHECK_INTERVAL_S = 1.0
SAVE_TIMEOUT_S = 15.0
EXPLAIN_TIMEOUT_S = 5.0
# How often a long reading of what is there tells how far it is.
PROGRESS_INTERVAL_S = 5.0


class StateKeeper(Protocol):
    """Keeps the checkpoint of a session in Kafka, where any other host finds it."""

    async def save(self, checkpoint: Checkpoint, *, released: bool = False) -> None:
        """Returns when it is confirmed. `released`: nobody need wait to take over. Raises what `send` raises."""


@dataclass(frozen=True)
class Session:
    """A started publisher and what is known at its start.

    `delivered` are lines to come that the topics hold already; they stand between `tails` and `ends` (both empty where
    that does not matter). `found` is the checkpoint that Kafka kept.
    """

    publisher: BatchPublisher
    delivered: Delivered
    tails: TopicOffsets
    ends: TopicOffsets
    found: Checkpoint
    keeper: StateKeeper | None


class Sessions(Protocol):
    """What the pipeline connects through: one object for each value of DELIVERY."""

    async def begin(self, own: Checkpoint) -> Session:
        """Connect and find out what is there. `own` is what this process knows.

        Raises a RetryableError to be tried again, and Fenced when another producer took over meanwhile.
        """

    async def explain(self, error: Fenced) -> Fenced:
        """The same error, with the name of the producer that took over where that can be learnt."""


@dataclass(frozen=True)
class DeliveryTarget:
    """Where the lines go. `publish` starts a publisher for the topics, behind the fence of a name if one is given."""

    kafka: KafkaSettings
    topics: tuple[str, str]  # of records and of dead letters
    host: str
    is_wanted: Callable[[str], bool]  # whether this producer follows files of that path
    publish: Callable[[Sequence[str], str | None], Awaitable[BatchPublisher]]


class AtLeastOnceSessions:
    """Connects, and trusts that nobody else sends: what was not confirmed is sent again."""

    def __init__(self, target: DeliveryTarget) -> None:
        self._target = target

    async def begin(self, own: Checkpoint) -> Session:
        """See Sessions."""
        publisher = await self._target.publish(self._target.topics, None)
        return Session(publisher, Delivered(self._target.host), {}, {}, Checkpoint(), None)

    async def explain(self, error: Fenced) -> Fenced:
        """See Sessions."""
        return error


class ExactlyOnceSessions:
    """Fenced tail-resume. `name` is the transactional id: what it delivers, no second producer may deliver."""

    def __init__(self, target: DeliveryTarget, state_topic: str, name: str, owner: Owner) -> None:
        self._target = target
        self._name = name
        self._owner = owner
        self._state = Place(state_topic, 0)
        self._had_session = False

    async def find(self) -> Checkpoint | None:
        """The checkpoint that Kafka keeps under this name, for a start without one of its own."""
        return await find_checkpoint(self._target.kafka, self._state.topic, self._name)

    async def begin(self, own: Checkpoint) -> Session:
        """See Sessions. Lines that the predecessor may have sent behind `own` are read from the topics' tails."""
        async with open_log_reader(self._target.kafka) as reader:
            records = StateRecords(self._name)
            known_to = await self._wait_until_alone(reader, records)
            publisher = await self._target.publish((*self._target.topics, self._state.topic), self._name)
            try:
                await self._read_state(reader, records, known_to)
                return await self._resume(reader, records, publisher, own)
            except BaseException:
                await publisher.abandon()
                raise

    async def explain(self, error: Fenced) -> Fenced:
        """See Sessions."""
        records = StateRecords(self._name)
        try:
            async with asyncio.timeout(EXPLAIN_TIMEOUT_S), open_log_reader(self._target.kafka) as reader:
                await self._read_state(reader, records, 0)
        except (RetryableError, TimeoutError):
            return error
        kept = records.kept()
        if kept is None or kept.owner.instance == self._owner.instance:
            return error  # it has not said its name yet
        return Fenced(self._describe_other(kept, "took over; this one ends"))

    async def _wait_until_alone(self, reader: LogReader, records: StateRecords) -> int:
        """Returns up to where the state is read. Raises StandingBy while another producer lives, Fenced after one."""
        known_to = await self._read_state(reader, records, 0)
        kept = records.kept()
        if kept is None or kept.owner.instance == self._owner.instance:
            return known_to
        if self._had_session:
            raise Fenced(self._describe_other(kept, "took over; this one ends"))
        if kept.owner.lock == self._owner.lock:
            return known_to  # this one holds it now: that one is dead
        for _check in range(round(LEASE_S / LEASE_CHECK_INTERVAL_S)):
            latest = records.kept()
            if latest is None or latest.released:
                break
            if latest.written_at != kept.written_at:
                raise StandingBy(self._describe_other(latest, "is alive; this one waits until it is gone"))
            await asyncio.sleep(LEASE_CHECK_INTERVAL_S)
            known_to = await self._read_state(reader, records, known_to)
        return known_to

    def _describe_other(self, kept: KeptState, what: str) -> str:
        return (
            f"another producer of the name {self._name} ({kept.owner}) {what}. If both are wanted, give each a "
            "SOURCE_HOST or a SERVICE_NAME of its own"
        )

    async def _resume(
        self, reader: LogReader, records: StateRecords, publisher: BatchPublisher, own: Checkpoint
    ) -> Session:
        kept = records.kept()
        found = kept.checkpoint if kept else Checkpoint()
        keeper = TopicKeeper(publisher, self._state, records, self._owner)
        await keeper.save(found)  # nothing new but the owner: whoever waits for this name sees that it is alive
        # A checkpoint of before a first session, or of at-least-once, knows no tails: then the older ones serve.
        newest = found if found.sequence > own.sequence or not own.tails else own
        delivered = Delivered(self._target.host, found.files, self._target.is_wanted)
        ranges = await self._find_tails(reader, publisher, newest.tails)
        heartbeat = _Every(HEARTBEAT_INTERVAL_S, lambda: keeper.save(found))
        await self._read_tails(reader, ranges, delivered, heartbeat)
        self._had_session = True
        starts, ends = _by_topic(ranges, lambda tail: tail.start), _by_topic(ranges, lambda tail: tail.end)
        return Session(publisher, delivered, starts, ends, found, keeper)

    async def _find_tails(
        self, reader: LogReader, publisher: BatchPublisher, tails: TopicOffsets
    ) -> dict[Place, TailRange]:
        places = [
            Place(topic, partition)
            for topic in self._target.topics
            for partition in range(publisher.partition_count(topic))
        ]
        firsts, ends = await reader.first_offsets(places), await reader.end_offsets(places)
        ranges = {place: tail_range(_expected(tails, place), firsts[place], ends[place]) for place in places}
        for place, found in ranges.items():
            if found.whole:
                continue
            expected = _expected(tails, place) or 0
            get_logger().warning(
                "topic_recreated" if expected > found.end else "tail_expired",
                topic=place.topic,
                partition=place.partition,
                expected_offset=expected,
                first_offset=firsts[place],
                end_offset=found.end,
            )
        return ranges

    async def _read_tails(
        self, reader: LogReader, ranges: Mapping[Place, TailRange], delivered: Delivered, heartbeat: _Every
    ) -> None:
        """Note in `delivered` what stands in these ranges."""
        records_topic, _dead_letter_topic = self._target.topics
        progress = _ReadingProgress(sum(found.end - found.start for found in ranges.values()))
        starts = {place: found.start for place, found in ranges.items()}
        async for batch in reader.read(starts, {place: found.end for place, found in ranges.items()}):
            for record in batch.records:
                if batch.topic == records_topic:
                    delivered.note_record(record.value, record.headers)
                else:
                    delivered.note_dead_letter(record.headers)
            progress.add(len(batch.records))
            await heartbeat.when_due()
        get_logger().info(
            "tail_read",
            records=progress.count,
            lines_already_delivered=delivered.line_count,
            not_understood=delivered.strange_count,
        )

    async def _read_state(self, reader: LogReader, records: StateRecords, start: int) -> int:
        return await _read_state(reader, self._state, records, start)


async def find_checkpoint(kafka: KafkaSettings, state_topic: str, name: str) -> Checkpoint | None:
    """The checkpoint that Kafka keeps of the producer of this name. Raises BrokerUnavailable and the like."""
    records = StateRecords(name)
    async with open_log_reader(kafka) as reader:
        await _read_state(reader, Place(state_topic, 0), records, 0)
    kept = records.kept()
    return kept.checkpoint if kept else None


async def _read_state(reader: LogReader, place: Place, records: StateRecords, start: int) -> int:
    """Read the state topic on from `start`; returns its end."""
    if not await reader.has_topic(place.topic):
        raise BrokerUnavailable(f"topic {place.topic} does not exist yet; the `topics` service makes it")
    end = (await reader.end_offsets([place]))[place]
    async for batch in reader.read({place: start}, {place: end}):
        for record in batch.records:
            records.note(record.key, record.value, record.offset)
    return end


class TopicKeeper:
    """A StateKeeper that writes to a compacted topic, only what changed."""

    def __init__(self, publisher: BatchPublisher, place: Place, records: StateRecords, owner: Owner) -> None:
        self._publisher = publisher
        self._place = place
        self._records = records
        self._owner = owner

    async def save(self, checkpoint: Checkpoint, *, released: bool = False) -> None:
        """See StateKeeper. The record that speaks of all the others is in the last batch."""
        batch = self._publisher.new_batch()
        for key, value in self._records.changes(checkpoint, self._owner, released=released):
            if batch.append(timestamp=None, key=key, value=value) is None:
                await self._publisher.confirm(batch, *self._place, SAVE_TIMEOUT_S)
                batch = self._publisher.new_batch()
                batch.append(timestamp=None, key=key, value=value)
        await self._publisher.confirm(batch, *self._place, SAVE_TIMEOUT_S)


class _Every:
    """Does something when so many seconds are over since the last time."""

    def __init__(self, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
        self._interval_s = interval_s
        self._action = action
        self._done_at = time.monotonic()

    async def when_due(self) -> None:
        if time.monotonic() - self._done_at > self._interval_s:
            await self._action()
            self._done_at = time.monotonic()


class _ReadingProgress:
    """Tells now and then how far a long reading is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.count = 0
        self._told_at = time.monotonic()

    def add(self, count: int) -> None:
        self.count += count
        if time.monotonic() - self._told_at > PROGRESS_INTERVAL_S:
            self._told_at = time.monotonic()
            get_logger().info("tail_reading", records=self.count, of_at_most=self._total)


def _expected(tails: TopicOffsets, place: Place) -> int | None:
    """Where an earlier run left the partition; None when it never saw the topic."""
    offsets = tails.get(place.topic)
    if offsets is None:
        return None
    return offsets[place.partition] if place.partition < len(offsets) else 0  # it was added since


def _by_topic(ranges: Mapping[Place, TailRange], offset: Callable[[TailRange], int]) -> TopicOffsets:
    found: dict[str, tuple[int, ...]] = {}
    for place in sorted(ranges):
        found[place.topic] = (*found.get(place.topic, ()), offset(ranges[place]))
    return found
