"""What stands in a topic, as its values say it. Pure: bytes to data, with no code of the services."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.lines import Fields, number_in


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record or dead letter as the broker gave it."""

    dead_letter: bool
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What it says: its place in the file, and its fields (a record) or original bytes (a dead letter)."""

    generation: str
    start: int
    length: int
    number: int | None
    fields: Fields | None = None
    raw: bytes | None = None


def understand(record: TopicRecord, run: str) -> Arrived | None:
    """None when it is neither a record with its source nor a dead letter with its source."""
    return _dead_letter(record, run) if record.dead_letter else _record(record, run)


def _record(record: TopicRecord, run: str) -> Arrived | None:
    try:
        value = json.loads(record.value)
        source = value["source"]
        names = ("client_address", "path", "query", "status", "body_bytes", "referrer", "user_agent")
        fields = tuple(value[name] for name in names)
        return Arrived(
            source["generation"], source["offset"], source["length"], number_in(record.value, run), fields=fields
        )
    except (ValueError, KeyError, TypeError):
        return None


def _dead_letter(record: TopicRecord, run: str) -> Arrived | None:
    try:
        generation = record.headers["dlt-source-generation"].decode()
        start, length = int(record.headers["dlt-source-offset"]), int(record.headers["dlt-raw-length"])
    except (KeyError, ValueError):
        return None
    return Arrived(generation, start, length, number_in(record.value, run), raw=record.value)
