"""Values and batches for the tests of the consumer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.consumer.decode import DecodedBatch, decode
from shared.kafka.records import RecordBatch
from shared.schemas import AccessRecord, Source

TOPIC = "nginx_logs"


@dataclass(frozen=True)
class Received:
    """A record as from the broker."""

    offset: int
    value: bytes | None
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"192.0.2.1"
    headers: Sequence[tuple[str, bytes]] = ()


def value(number: int) -> bytes:
    """A valid value that holds its number."""
    return AccessRecord(
        schema_version=1,
        time=datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC),
        client_address="192.0.2.1",
        remote_user=None,
        method="GET",
        path=f"/{number}",
        query=None,
        protocol="HTTP/1.1",
        request=None,
        status=200,
        body_bytes=1,
        referrer=None,
        user_agent="über",
        forwarded_for=None,
        escaped_fields=(),
        source=Source(host="web-1", file="/access.log", generation="g", offset=number, length=80),
    ).to_json()


def received(
    values: Sequence[bytes | None], first_offset: int = 0, partition: int = 3, end_offset: int = 10_000
) -> RecordBatch:
    records = [Received(first_offset + number, one) for number, one in enumerate(values)]
    return RecordBatch(TOPIC, partition, records, end_offset)


def batch(first: int, count: int, partition: int = 3, end_offset: int = 10_000) -> DecodedBatch:
    """Valid records whose numbers are their offsets."""
    values = [value(number) for number in range(first, first + count)]
    return decode(received(values, first, partition, end_offset), "group", "service")
