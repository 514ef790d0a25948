"""From a batch of bytes to validated records and to dead letters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from shared.kafka.records import ReceivedRecord, RecordBatch
from shared.schemas import AccessRecord, DeadLetter, DeadLetterReason

MAX_MESSAGE_CHARACTERS = 500
MAX_NAMED_PROBLEMS = 3

_validate = AccessRecord.model_validate_json


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The valid records of one batch, in order: `records[i]` was read from `values[i]` at `offsets[i]`.

    The batch covers the offsets from `first_offset` up to but not including `next_offset`; those of `rejects`, and
    those that the topic does not have, are not among `offsets`. `end_offset` is that of the RecordBatch.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    end_offset: int | None
    records: Sequence[AccessRecord]
    values: Sequence[bytes]
    offsets: Sequence[int]
    rejects: Sequence[DeadLetter] = ()


def decode(batch: RecordBatch, group: str, service: str) -> DecodedBatch:
    """Validate every value of the batch. `group` and `service` go into the dead letters."""
    records: list[AccessRecord] = []
    values: list[bytes] = []
    offsets: list[int] = []
    rejects: list[DeadLetter] = []
    for received in batch.records:
        value = received.value or b""
        try:
            record = _validate(value)
        except ValidationError as error:
            rejects.append(_reject(batch, received, _describe(received, error), group, service))
        else:
            records.append(record)
            values.append(value)
            offsets.append(received.offset)
    return DecodedBatch(
        topic=batch.topic,
        partition=batch.partition,
        first_offset=batch.first_offset,
        next_offset=batch.next_offset,
        end_offset=batch.end_offset,
        records=records,
        values=values,
        offsets=offsets,
        rejects=rejects,
    )


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


def _describe(received: ReceivedRecord, error: ValidationError) -> str:
    """One bounded line: the first problems, each with its field."""
    if received.value is None:
        return "the record has no value"
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    named = [": ".join(filter(None, [".".join(map(str, one["loc"])), one["msg"]])) for one in problems]
    more = f" (and {len(named) - MAX_NAMED_PROBLEMS} more)" if len(named) > MAX_NAMED_PROBLEMS else ""
    return ("; ".join(named[:MAX_NAMED_PROBLEMS]) + more)[:MAX_MESSAGE_CHARACTERS]
