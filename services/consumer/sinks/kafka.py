"""Sends what a transform makes of the records to another topic, each record exactly once.

What is sent and the group's offsets are one transaction: both are there, or neither. Readers of the topic must be
read_committed, because a replica that dies leaves what it had begun behind, aborted.

The name of the transactions is that of the source partition (`<group>-<topic>-<partition>`), so each partition has a
client of its own. One client per replica would do with fewer connections, but then only the group's generation could
tell a replica that was paused from its successor, and aiokafka does not send it with the offsets. With a name per
partition the broker itself refuses a predecessor: the successor starts the name anew, which ends what was under way,
and only then asks what is committed. Whoever started last and read the offset after that is the only one who can move
it. Measured on two cores: eight clients start in 0.3 s and take 9 MiB.

The group's offsets go through these transactions alone (`commit`): a plain commit is not fenced by the name, and one
that reaches the broker late would move the offset back behind what was sent.

When a transaction fails its outcome is unknown: it is started anew under the same name, which decides it, and what is
committed tells whether to send again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings
from services.consumer.transforms import load_transform
from services.consumer.transforms.base import Transform
from shared.errors import Fenced, OwnershipLost, RecordsRejected, RetryableError, SinkUnavailable
from shared.kafka.partitioner import partition_of_key
from shared.kafka.topics import max_message_bytes
from shared.kafka.transactions import GroupOffsets, Outgoing, TransactionalPublisher
from shared.schemas.headers import (
    ORIGINAL_OFFSET_HEADER,
    ORIGINAL_PARTITION_HEADER,
    ORIGINAL_TOPIC_HEADER,
    REPLAY_HEADER,
)

# Transactions, or starts of clients, at a time.
CONCURRENCY = 8
# What a header costs besides its name and value.
HEADER_OVERHEAD_BYTES = 8


@dataclass(slots=True)
class PartitionOutput:
    """What one source partition has for the topic. `records[i]` was made of the record at `offsets[i]`.

    `covered_to` is the next offset behind what was taken and is not committed, None without such; `committed_to` what
    the group has for sure, `undecided` what a transaction with an unknown outcome would have committed. `lost` when
    another replica has taken over: then the name is not started again, for that would end what the other one does.
    """

    topic: str
    partition: int
    publisher: TransactionalPublisher | None = None
    max_record_bytes: int = 0
    output_partitions: int = 0
    records: list[Outgoing] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    held_bytes: int = 0
    covered_to: int | None = None
    committed_to: int | None = None
    undecided: int | None = None
    lost: bool = False

    def hold(self, records: Iterable[tuple[int, Outgoing]], next_offset: int) -> None:
        """Keep them until they are committed."""
        for offset, record in records:
            self.offsets.append(offset)
            self.records.append(record)
            self.held_bytes += _size(record)
        self.covered_to = next_offset

    def settle(self, next_offset: int) -> None:
        """The group has committed this offset, and with it all that was made of the records before it."""
        kept = [index for index, offset in enumerate(self.offsets) if offset >= next_offset]
        self.records = [self.records[index] for index in kept]
        self.offsets = [self.offsets[index] for index in kept]
        self.held_bytes = sum(map(_size, self.records))
        self.covered_to = None if self.covered_to is None or self.covered_to <= next_offset else self.covered_to
        self.committed_to = next_offset
        self.undecided = None

    def decide(self, found: int | None) -> None:
        """The group has committed `found`, and nothing is under way. Raises OwnershipLost when that is not ours."""
        if found is not None and found == self.undecided:
            self.settle(found)
        elif found != self.committed_to:
            self.lost = True
            raise OwnershipLost(
                f"the group has committed {found} of {self.topic}/{self.partition}, where this replica had committed "
                f"{self.committed_to}: another one has gone on"
            )
        self.undecided = None


class KafkaSink:
    """Holds what is taken until the next flush, or until `buffer_bytes` are held."""

    def __init__(self, settings: ConsumerSettings, topic: str, transform: Transform) -> None:
        self._settings = settings
        self._topic = topic
        self._transform = transform
        self._buffer_bytes = settings.kafka_sink_buffer_bytes
        self._outputs: dict[int, PartitionOutput] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> KafkaSink:
        assert settings.kafka_sink_topic is not None, "settings refuse SINK=kafka without KAFKA_SINK_TOPIC"
        return cls(settings, settings.kafka_sink_topic, load_transform(settings.transform))

    async def open(self) -> None:
        """Nothing to do: the clients come with the partitions."""

    async def resume(self, topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """What the group has committed once nobody else can commit for these partitions any more."""
        await self._finish_closing()
        fresh = [PartitionOutput(topic, partition) for partition in partitions]
        self._outputs.update({output.partition: output for output in fresh})
        try:
            limit_bytes = await max_message_bytes(self._settings, [self._topic])
            await _for_all(fresh, lambda output: self._start(output, limit_bytes))
        except (RetryableError, Fenced) as error:  # fenced by a predecessor that has not noticed yet that it is one
            self.forget(partitions)
            raise SinkUnavailable(f"{self._topic} cannot be written to: {error}") from error
        return {output.partition: output.committed_to for output in fresh if output.committed_to is not None}

    async def _start(self, output: PartitionOutput, limit_bytes: int | None = None) -> None:
        """Fence, then look. Raises RetryableError; OwnershipLost when the offset is not where it was left."""
        name = f"{self._settings.group_id}-{output.topic}-{output.partition}"
        publisher = await TransactionalPublisher.start(self._settings, name, [self._topic], limit_bytes)
        found = await publisher.committed(self._settings.group_id, output.topic, output.partition)
        if output.max_record_bytes:  # not for the first time
            try:
                output.decide(found)
            except OwnershipLost:
                await publisher.close()
                raise
        output.committed_to = found
        output.max_record_bytes = publisher.max_record_bytes
        output.output_partitions = publisher.partition_count(self._topic)
        self._keep(output, publisher)

    def _keep(self, output: PartitionOutput, publisher: TransactionalPublisher) -> None:
        """For the next transaction, unless the partition was given away meanwhile."""
        if self._outputs.get(output.partition) is output:
            output.publisher = publisher
        else:
            self._close_soon(publisher)

    async def write(self, batch: DecodedBatch) -> None:
        output = self._outputs[batch.partition]
        made = self._make(batch, output)
        # First make room: when that fails the batch is not taken, and may come again.
        if sum(one.held_bytes for one in self._outputs.values()) >= self._buffer_bytes:
            await self.flush()
        output.hold(made, batch.next_offset)

    def _make(self, batch: DecodedBatch, output: PartitionOutput) -> list[tuple[int, Outgoing]]:
        """What the transform returns, with the offset of each. Raises RecordsRejected for those it cannot make."""
        made: list[tuple[int, Outgoing]] = []
        rejected: list[RecordsRejected] = []
        rejected_offsets: list[int] = []
        for index, offset in enumerate(batch.offsets):
            try:
                one = self._outgoing(batch, index, output)
            except RecordsRejected as error:
                rejected.append(error)
                rejected_offsets.append(offset)
            else:
                if one is not None:
                    made.append((offset, one))
        if rejected:
            raise RecordsRejected(str(rejected[0]), rejected[0].cause_name, frozenset(rejected_offsets))
        return made

    def _outgoing(self, batch: DecodedBatch, index: int, output: PartitionOutput) -> Outgoing | None:
        try:
            value = self._transform.value_of(batch.records[index], batch.values[index])
            key = self._transform.key_of(batch.keys[index])
        except Exception as error:  # whatever the user's function raises
            failed = f"TRANSFORM={self._settings.transform} failed: {type(error).__name__}: {error}"
            raise RecordsRejected(failed, type(error).__name__) from error
        if value is None:
            return None
        # Without a key the records of a partition stay together, which keeps their order.
        count = output.output_partitions
        to = batch.partition % count if key is None else partition_of_key(key, count)
        headers = [
            (ORIGINAL_TOPIC_HEADER, batch.topic.encode()),
            (ORIGINAL_PARTITION_HEADER, b"%d" % batch.partition),
            (ORIGINAL_OFFSET_HEADER, b"%d" % batch.offsets[index]),
            *((name, text) for name, text in batch.headers[index] if name == REPLAY_HEADER),
        ]
        record = Outgoing(self._topic, to, key, value, headers)
        if (size := _size(record)) > output.max_record_bytes:
            too_large = f"{self._topic} takes records of {output.max_record_bytes} bytes, and this one has {size}"
            raise RecordsRejected(too_large, "RecordTooLarge")
        return record

    async def flush(self) -> None:
        taken_to = {partition: output.covered_to for partition, output in self._outputs.items()}
        await self._transact_all({partition: offset for partition, offset in taken_to.items() if offset is not None})

    async def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit what `flush` has not: offsets behind the last record taken, of records left out and set aside."""
        await self._transact_all(next_offsets)

    async def _transact_all(self, next_offsets: Mapping[int, int]) -> None:
        due = [output for partition, output in self._outputs.items() if partition in next_offsets]
        await _for_all(due, lambda output: self._transact(output, next_offsets[output.partition]))

    async def _transact(self, output: PartitionOutput, next_offset: int) -> None:
        """Send all that is held, and commit the offset. Raises OwnershipLost, SinkUnavailable or FatalError."""
        if output.lost:
            raise OwnershipLost(f"{output.topic}/{output.partition} is another replica's")
        try:
            if output.publisher is None:
                await self._start(output)
            await self._publish(output, next_offset)
        except Fenced as error:
            output.lost = True
            raise OwnershipLost(f"{output.topic}/{output.partition} is written by another replica") from error
        except OwnershipLost:
            raise
        except RetryableError as error:
            raise SinkUnavailable(f"{self._topic} cannot be written to: {error}") from error

    async def _publish(self, output: PartitionOutput, next_offset: int) -> None:
        if output.publisher is None or output.committed_to == next_offset:
            return
        # Taken out: whatever ends this early has spent the client.
        publisher, output.publisher = output.publisher, None
        output.undecided = next_offset
        offsets = GroupOffsets(self._settings.group_id, output.topic, {output.partition: next_offset})
        await publisher.publish(output.records, offsets)
        output.settle(next_offset)
        self._keep(output, publisher)

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            output = self._outputs.pop(partition, None)
            if output is not None and output.publisher is not None:
                self._close_soon(output.publisher)

    def _close_soon(self, publisher: TransactionalPublisher) -> None:
        closing = asyncio.create_task(publisher.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _finish_closing(self) -> None:
        if self._closing:
            await asyncio.wait(set(self._closing))

    async def close(self) -> None:
        self.forget(list(self._outputs))
        await self._finish_closing()


def _size(record: Outgoing) -> int:
    headers = sum(len(name) + len(text) + HEADER_OVERHEAD_BYTES for name, text in record.headers)
    return len(record.key or b"") + len(record.value) + headers


async def _for_all(outputs: Sequence[PartitionOutput], work: Callable[[PartitionOutput], Awaitable[None]]) -> None:
    """CONCURRENCY at a time, each to its end; then raises the worst of what went wrong."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(output: PartitionOutput) -> None:
        async with gate:
            await work(output)

    outcomes = await asyncio.gather(*map(one, outputs), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise min(failures, key=lambda error: (isinstance(error, RetryableError), isinstance(error, SinkUnavailable)))
