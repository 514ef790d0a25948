"""What could not be processed: the original bytes as the value, everything about them in the headers.

Headers are UTF-8 text. Those that name a Kafka record follow the names that users of Spring Kafka know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

Headers = Sequence[tuple[str, bytes]]
SOURCE_HOST_HEADER = "dlt-source-host"
SOURCE_FILE_HEADER = "dlt-source-file"
SOURCE_GENERATION_HEADER = "dlt-source-generation"
SOURCE_OFFSET_HEADER = "dlt-source-offset"


class DeadLetterReason(StrEnum):
    """Why; one value per cause, so that dead letters can be counted and replayed by reason."""

    UNPARSEABLE_LINE = "unparseable_line"
    INVALID_VALUE = "invalid_value"
    LINE_TOO_LONG = "line_too_long"
    RECORD_TOO_LARGE = "record_too_large"
    UNTERMINATED_LINE = "unterminated_line"
    INVALID_RECORD = "invalid_record"
    SINK_REJECTED = "sink_rejected"
    SINK_FAILED = "sink_failed"


class DeadLetter(BaseModel):
    """One rejected line (the `source_…` fields are set) or one rejected record (the `original_…` fields are set)."""

    model_config = ConfigDict(frozen=True)

    raw: bytes = Field(description="The bytes as they were read; a prefix of them when `raw_length` is larger.")
    raw_length: int = Field(description="Bytes of the whole line or value.")
    reason: DeadLetterReason
    message: str = Field(description="What was wrong, for a person.")
    service: str = Field(description="The service that rejected it.")
    key: bytes | None = None

    source_host: str | None = None
    source_file: str | None = None
    source_generation: str | None = None
    source_offset: int | None = None

    original_topic: str | None = None
    original_partition: int | None = None
    original_offset: int | None = None
    original_timestamp_ms: int | None = None
    original_consumer_group: str | None = None
    exception_name: str | None = Field(None, description="Type of what the sink or handler raised.")
    attempts: int | None = Field(None, description="How often the sink was given the record.")

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers: every field that is set, but the raw bytes and the key, which travel as value and key."""
        return [
            (header, str(value).encode())
            for field, header in _HEADERS.items()
            if (value := getattr(self, field)) is not None
        ]

    @classmethod
    def from_record(cls, value: bytes, key: bytes | None, headers: Headers) -> Self:
        """The dead letter that was published as this record. Raises pydantic.ValidationError if it is none."""
        received: Mapping[str, bytes] = dict(headers)
        fields = {field: received[header].decode() for field, header in _HEADERS.items() if header in received}
        return cls.model_validate({**fields, "raw": value, "key": key})


_HEADERS = {
    "reason": "dlt-reason",
    "message": "dlt-exception-message",
    "service": "dlt-service",
    "raw_length": "dlt-raw-length",
    "source_host": SOURCE_HOST_HEADER,
    "source_file": SOURCE_FILE_HEADER,
    "source_generation": SOURCE_GENERATION_HEADER,
    "source_offset": SOURCE_OFFSET_HEADER,
    "original_topic": "dlt-original-topic",
    "original_partition": "dlt-original-partition",
    "original_offset": "dlt-original-offset",
    "original_timestamp_ms": "dlt-original-timestamp",
    "original_consumer_group": "dlt-original-consumer-group",
    "exception_name": "dlt-exception-fqcn",
    "attempts": "dlt-attempts",
}
