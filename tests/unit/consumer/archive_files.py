"""Reading an archive back, with a reader that shares no code with what wrote it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

from services.consumer.decode import DecodedBatch, decode
from shared.schemas import AccessRecord
from tests.unit.consumer.records import TOPIC, received, value


def query(directory: Path, text: str) -> list[tuple[Any, ...]]:
    """The rows of a SELECT over {archive}; none when there is no file yet."""
    if not any(directory.glob("*/*/*/*.parquet")):
        return []
    pattern = f"read_parquet('{directory}/*/*/*/*.parquet', hive_partitioning = true, union_by_name = true)"
    with duckdb.connect() as connection:
        return connection.execute(text.replace("{archive}", pattern)).fetchall()


def places(directory: Path) -> Counter[tuple[int, int]]:
    """How often each partition and offset is archived."""
    return Counter({(partition, offset): count for partition, offset, count in query(directory, _PLACES)})


_PLACES = "SELECT kafka_partition, kafka_offset, count(*) FROM {archive} GROUP BY ALL"


def numbers(directory: Path) -> Counter[int]:
    """How often each record is archived, by the offset of its line."""
    return Counter(dict(query(directory, "SELECT source_offset, count(*) FROM {archive} GROUP BY 1")))


def files(directory: Path, partition: int = 3) -> list[str]:
    """Folder of the hour and span of each file of the partition."""
    found = (directory / TOPIC).glob(f"*/*/p{partition}-*.parquet")
    return sorted(f"{path.parent.name} {_short(path.stem)}" for path in found)


def _short(stem: str) -> str:
    _partition, first, last = stem.split("-")
    return f"{int(first)}-{int(last)}"


def at_hours(first: int, hours: list[int | None], partition: int = 3, end_offset: int = 10_000) -> DecodedBatch:
    """Records from offset `first` on, each in the hour of 2015-05-17 that stands for it; None is an invalid record."""
    values = [None if hour is None else _at_hour(first + index, hour) for index, hour in enumerate(hours)]
    return decode(received(values, first, partition, end_offset), "group", "service")


def _at_hour(number: int, hour: int) -> bytes:
    return value(number).replace(b"2015-05-17T10:05:03Z", f"2015-05-17T{hour:02d}:05:03Z".encode())


def as_archived(record: AccessRecord, row: dict[str, Any]) -> AccessRecord:
    """The record that a row stands for: made from the row's columns alone, but for the schema's version."""
    source = {name: row[f"source_{name}"] for name in ("host", "file", "generation", "offset", "length")}
    plain = {name: row[name] for name in AccessRecord.model_fields if name in row}
    nested = {"source": source, "escaped_fields": json.loads(row["escaped_fields"] or "[]")}
    if row["details"] is not None:
        nested["details"] = json.loads(row["details"])
    else:
        del plain["details"]
    everything = {**plain, **nested, "time": row["time"].isoformat(), "schema_version": record.schema_version}
    return AccessRecord.model_validate_json(json.dumps(everything))
