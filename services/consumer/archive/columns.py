"""The columns of an archive's files, and rows made from records.

Columns are only ever added, at the end and nullable; none is renamed, removed or given another type. So files of every
age are read together by name, and a file that lacks a column has nulls there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.consumer.archive.layout import FIRST_HOUR, LAST_HOUR, Span, hour_of, microseconds_of
from services.consumer.decode import DecodedBatch
from shared.errors import RecordsRejected
from shared.schemas import AccessRecord

# Of the layout of files and names. It changes only when a reader must know.
LAYOUT_VERSION = 1

SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("utc_offset_s", pa.int32(), nullable=False),
        pa.field("client_address", pa.string(), nullable=False),
        ("remote_user", pa.string()),
        ("method", pa.string()),
        ("path", pa.string()),
        ("query", pa.string()),
        ("protocol", pa.string()),
        ("request", pa.string()),
        pa.field("status", pa.int16(), nullable=False),
        ("body_bytes", pa.int64()),
        ("referrer", pa.string()),
        ("user_agent", pa.string()),
        ("forwarded_for", pa.string()),
        ("details", pa.string()),
        ("escaped_fields", pa.string()),
        pa.field("source_host", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_generation", pa.string(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("source_length", pa.int64(), nullable=False),
        pa.field("kafka_partition", pa.int32(), nullable=False),
        pa.field("kafka_offset", pa.int64(), nullable=False),
        ("kafka_timestamp", pa.timestamp("ms", tz="UTC")),
    ]
)
# What tells one line from another: where it stands and when it was written.
IDENTITY = ("time", "source_host", "source_file", "source_generation", "source_offset", "source_length")


def rows_by_hour(batch: DecodedBatch) -> dict[int, Any]:
    """A RecordBatch for each hour of the records. Raises RecordsRejected for those whose time has no date in UTC."""
    times = [microseconds_of(record.time) for record in batch.records]
    hours = [hour_of(time) for time in times]
    strange = [offset for offset, hour in zip(batch.offsets, hours, strict=True) if not FIRST_HOUR <= hour <= LAST_HOUR]
    if strange:
        raise RecordsRejected("the time lies outside of the years 1 to 9999 in UTC", "ValueError", frozenset(strange))
    if min(hours) == max(hours):
        return {hours[0]: _rows(batch, times)}
    found = {}
    for hour in sorted(set(hours)):
        chosen = [index for index, one in enumerate(hours) if one == hour]
        found[hour] = _rows(_only(batch, chosen), [times[index] for index in chosen])
    return found


def _only(batch: DecodedBatch, chosen: Sequence[int]) -> DecodedBatch:
    kept = {batch.offsets[index] for index in chosen}
    return batch.without([offset for offset in batch.offsets if offset not in kept])


def _rows(batch: DecodedBatch, times: Sequence[int]) -> Any:
    records = batch.records
    sources = [record.source for record in records]
    columns = [
        times,
        [_utc_offset_s(record) for record in records],
        [record.client_address for record in records],
        [record.remote_user for record in records],
        [record.method for record in records],
        [record.path for record in records],
        [record.query for record in records],
        [record.protocol for record in records],
        [record.request for record in records],
        [record.status for record in records],
        [record.body_bytes for record in records],
        [record.referrer for record in records],
        [record.user_agent for record in records],
        [record.forwarded_for for record in records],
        [record.details.model_dump_json(exclude_unset=True) if record.details else None for record in records],
        [json.dumps(record.escaped_fields) if record.escaped_fields else None for record in records],
        [source.host for source in sources],
        [source.file for source in sources],
        [source.generation for source in sources],
        [source.offset for source in sources],
        [source.length for source in sources],
        [batch.partition] * len(records),
        batch.offsets,
        [timestamp if timestamp >= 0 else None for timestamp in batch.timestamps_ms],
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _utc_offset_s(record: AccessRecord) -> int:
    offset = record.time.utcoffset()
    assert offset is not None, "the schema takes aware times only"
    return offset.days * 86_400 + offset.seconds


def rows_within(table: Any, span: Span) -> Any:
    """The rows of those offsets; the table is in their order."""
    offsets = table.column("kafka_offset").to_pylist()
    first = sum(offset < span.first for offset in offsets)
    last = sum(offset <= span.last for offset in offsets)
    return table.slice(first, last - first)


def described(topic: str, partition: int, span: Span) -> Any:
    """The schema with what a file says of itself."""
    about = {"topic": topic, "partition": partition, "first_offset": span.first, "last_offset": span.last}
    return SCHEMA.with_metadata({**{name: str(value) for name, value in about.items()}, "layout": str(LAYOUT_VERSION)})


def unknown_columns(path: Path) -> bool:
    """Whether a later version wrote this file."""
    return not set(pq.read_schema(path).names) <= set(SCHEMA.names)


def identity_at(path: Path, offset: int) -> dict[str, Any] | None:
    """What identifies the row of that offset in a file; None when there is no such row."""
    with pq.ParquetFile(path) as file:
        for rows in file.iter_batches(columns=["kafka_offset", *IDENTITY]):
            offsets = rows.column("kafka_offset").to_pylist()
            if offset in offsets:
                [found] = rows.slice(offsets.index(offset), 1).to_pylist()
                return {name: found[name] for name in IDENTITY}
    return None
