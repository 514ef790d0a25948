"""Everything that a topic holds at one moment, for tools that look at it from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from shared.kafka.groups import partitions_of
from shared.kafka.log_reader import Place, open_log_reader
from shared.kafka.records import RecordBatch
from shared.runtime.settings import KafkaSettings


@dataclass(frozen=True)
class Span:
    """What a partition holds: `first` is the oldest offset that is kept, `end` the next one to be written."""

    first: int
    end: int

    @property
    def size(self) -> int:
        """Offsets in it; transaction markers and deleted records among them."""
        return self.end - self.first


async def spans(settings: KafkaSettings, topic: str) -> dict[int, Span]:
    """What each partition holds now; empty when the topic does not exist. Raises BrokerUnavailable and the like."""
    places = await partitions_of(settings, topic)
    if not places:
        return {}
    async with open_log_reader(settings) as reader:
        first, end = await reader.first_offsets(places), await reader.end_offsets(places)
    return {place.partition: Span(first[place], end[place]) for place in places}


async def since(settings: KafkaSettings, topic: str, held: Mapping[int, Span], timestamp_ms: int) -> dict[int, Span]:
    """The spans from the first record of that time or later on; empty ones where there is none."""
    if not held:
        return {}
    async with open_log_reader(settings) as reader:
        found = await reader.offsets_at([Place(topic, partition) for partition in held], timestamp_ms)
    return {
        place.partition: Span(min(span.end if offset is None else offset, span.end), span.end)
        for place, offset in found.items()
        for span in (held[place.partition],)
    }


async def scan(
    settings: KafkaSettings, topic: str, wanted: Mapping[int, Span], *, committed_only: bool = False
) -> AsyncIterator[RecordBatch]:
    """Every record in these spans, in batches of one partition, in its order.

    `committed_only` leaves out what aborted transactions wrote and waits for open ones to end.
    Raises BrokerUnavailable when nothing is gained for a while.
    """
    held = {Place(topic, partition): span for partition, span in wanted.items() if span.size > 0}
    if not held:
        return  # a client of aiokafka 0.14 that is stopped right after its start raises CancelledError
    starts = {place: span.first for place, span in held.items()}
    ends = {place: span.end for place, span in held.items()}
    async with open_log_reader(settings, committed_only=committed_only) as reader:
        async for batch in reader.read(starts, ends):
            yield batch
