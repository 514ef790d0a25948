"""From a batch of bytes to validated records and to dead letters. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from shared.kafka.records import ReceivedRecord, RecordBatch
from shared.schemas import AccessRecord, DeadLetter, DeadLetterReason
from shared.schemas.headers import REPLAY_FOR_HEADER

MAX_MESSAGE_CHARACTERS = 500
MAX_NAMED_PROBLEMS = 3

_validate = AccessRecord.model_validate_json


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The valid records of one batch, in order: `records[i]` was read from `values[i]` at `offsets[i]`, and so on.

    The batch covers the offsets from `first_offset` up to but not including `next_offset`; those of `rejects`, and
    those that the topic does not have, are not among `offsets`, nor are those of `other_group_count` records that were
    sent again for another group. `end_offset` is that of the RecordBatch, `newest_timestamp_ms` that of its last
    record.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    end_offset: int | None
    newest_timestamp_ms: int
    records: Sequence[AccessRecord]
    values: Sequence[bytes]
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    headers: Sequence[Sequence[tuple[str, bytes]]]
    other_group_count: int = 0
    rejects: Sequence[DeadLetter] = ()

    def part(self, start: int, end: int) -> DecodedBatch:
        """The records from index `start` up to but not including `end`, without rejects.

        Parts that adjoin cover adjoining offsets, and all of them together those of the batch.
        """
        return replace(
            self,
            first_offset=self.offsets[start] if start else self.first_offset,
            next_offset=self.offsets[end] if end < len(self.offsets) else self.next_offset,
            records=self.records[start:end],
            values=self.values[start:end],
            offsets=self.offsets[start:end],
            keys=self.keys[start:end],
            timestamps_ms=self.timestamps_ms[start:end],
            headers=self.headers[start:end],
            rejects=(),
        )

    def without(self, offsets: Collection[int]) -> DecodedBatch:
        """The same range of offsets without these records, and without rejects."""
        kept = [index for index, offset in enumerate(self.offsets) if offset not in offsets]
        return replace(
            self,
            records=[self.records[index] for index in kept],
            values=[self.values[index] for index in kept],
            offsets=[self.offsets[index] for index in kept],
            keys=[self.keys[index] for index in kept],
            timestamps_ms=[self.timestamps_ms[index] for index in kept],
            headers=[self.headers[index] for index in kept],
            rejects=(),
        )


def decode(batch: RecordBatch, group: str, service: str) -> DecodedBatch:
    """Validate every value of the batch. `group` and `service` go into the dead letters."""
    records: list[AccessRecord] = []
    taken: list[ReceivedRecord] = []
    rejects: list[DeadLetter] = []
    others = 0
    for received in batch.records:
        if received.headers and _is_for_another(received.headers, group):
            others += 1
            continue
        value = received.value or b""
        try:
            record = _validate(value)
        except ValidationError as error:
            rejects.append(_reject(batch, received, _describe(received, error), group, service))
        else:
            records.append(record)
            taken.append(received)
    return DecodedBatch(
        topic=batch.topic,
        partition=batch.partition,
        first_offset=batch.first_offset,
        next_offset=batch.next_offset,
        end_offset=batch.end_offset,
        newest_timestamp_ms=batch.records[-1].timestamp,
        records=records,
        values=[received.value or b"" for received in taken],
        offsets=[received.offset for received in taken],
        keys=[received.key for received in taken],
        timestamps_ms=[received.timestamp for received in taken],
        headers=[received.headers for received in taken],
        other_group_count=others,
        rejects=rejects,
    )


def _is_for_another(headers: Sequence[tuple[str, bytes]], group: str) -> bool:
    return any(name == REPLAY_FOR_HEADER and named != group.encode() for name, named in headers)


def _reject(batch: RecordBatch, received: ReceivedRecord, message: str, group: str, service: str) -> DeadLetter:
    value = received.value or b""
    return DeadLetter(
        raw=value,
        raw_length=len(value),
        reason=DeadLetterReason.INVALID_RECORD,
        message=message,
        service=service,
        key=received.key,
        original_topic=batch.topic,
        original_partition=batch.partition,
        original_offset=received.offset,
        original_timestamp_ms=received.timestamp,
        original_consumer_group=group,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sink did not take a record. `exception_name` is the type of what it raised."""

    reason: DeadLetterReason
    message: str
    exception_name: str
    attempts: int


def letters_of(
    batch: DecodedBatch, offsets: Collection[int], failure: Failure, group: str, service: str
) -> list[DeadLetter]:
    """Dead letters of those valid records of the batch, with their bytes as they came."""
    return [
        DeadLetter(
            raw=value,
            raw_length=len(value),
            reason=failure.reason,
            message=failure.message[:MAX_MESSAGE_CHARACTERS],
            service=service,
            key=key,
            original_topic=batch.topic,
            original_partition=batch.partition,
            original_offset=offset,
            original_timestamp_ms=timestamp_ms,
            original_consumer_group=group,
            exception_name=failure.exception_name,
            attempts=failure.attempts,
        )
        for offset, value, key, timestamp_ms in zip(
            batch.offsets, batch.values, batch.keys, batch.timestamps_ms, strict=True
        )
        if offset in offsets
    ]


def _describe(received: ReceivedRecord, error: ValidationError) -> str:
    """One bounded line: the first problems, each with its field."""
    if received.value is None:
        return "the record has no value"
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    named = [": ".join(filter(None, [".".join(map(str, one["loc"])), one["msg"]])) for one in problems]
    more = f" (and {len(named) - MAX_NAMED_PROBLEMS} more)" if len(named) > MAX_NAMED_PROBLEMS else ""
    return ("; ".join(named[:MAX_NAMED_PROBLEMS]) + more)[:MAX_MESSAGE_CHARACTERS]
