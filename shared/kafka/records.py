"""What is read from a topic: data only, for modules that know no Kafka client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class ReceivedRecord(Protocol):
    """One record as it came from the broker (aiokafka's ConsumerRecord). `timestamp` is in milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition, at least one. Offsets rise; they may have gaps.

    `end_offset` is the next offset to be written to the partition, as of the fetch; None when it is not known.
    """

    topic: str
    partition: int
    records: Sequence[ReceivedRecord]
    end_offset: int | None

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought, one batch per partition.

    `read_to` says, by partition, up to where every record was returned by this poll or an earlier one of the same
    assignment. It lies behind the last record where offsets without a record follow, such as markers of transactions.
    """

    batches: Sequence[RecordBatch]
    read_to: Mapping[int, int]
