r"""From records to rows of the table. Pure.

PostgreSQL stores every text but U+0000. A field that holds it is stored as the record's own rule has it for bytes that
are no UTF-8 (see docs/record.md): `\x00`, each backslash as `\x5C`, and the field is named in `escaped_fields`. Where
that rule has no place, in the names of headers and in what names the line, the record is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from services.consumer.decode import DecodedBatch
from shared.errors import RecordsRejected
from shared.schemas import AccessRecord

Row = tuple[Any, ...]

TEXTS = (
    "client_address",
    "remote_user",
    "method",
    "path",
    "query",
    "protocol",
    "request",
    "referrer",
    "user_agent",
    "forwarded_for",
)
COLUMNS = (
    "time",
    "client_ip",
    *TEXTS,
    "status",
    "body_bytes",
    "details",
    "escaped_fields",
    "source_host",
    "source_file",
    "source_generation",
    "source_offset",
    "source_length",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
)
# In valid JSON it can stand in no other way.
_NUL_IN_JSON = b"\\u0000"
# Near them, another offset from UTC leads out of what Python's dates can hold.
_FIRST_YEAR, _LAST_YEAR = 1, 9999


class Unstorable(Exception):
    """The column will not take what the record has for it. Never leaves this module."""


def rows_of(batch: DecodedBatch) -> list[Row]:
    """One row a record. Raises RecordsRejected, which names the offsets whose records no row can hold."""
    rows: list[Row] = []
    rejected: dict[int, str] = {}
    place = (batch.topic, batch.partition)
    for offset, record, value in zip(batch.offsets, batch.records, batch.values, strict=True):
        try:
            rows.append(_row(record, value, (*place, offset)))
        except Unstorable as error:
            rejected[offset] = str(error)
    if rejected:
        offset, because = next(iter(rejected.items()))
        raise RecordsRejected(
            f"PostgreSQL cannot store {len(rejected)} of {len(batch.records)} records; offset {offset}: {because}",
            Unstorable.__name__,
            frozenset(rejected),
        )
    return rows


def _row(record: AccessRecord, value: bytes, place: tuple[str, int, int]) -> Row:
    if not _FIRST_YEAR < record.time.year < _LAST_YEAR:
        raise Unstorable(f"time is of the year {record.time.year}")
    texts = (
        record.client_address,
        record.remote_user,
        record.method,
        record.path,
        record.query,
        record.protocol,
        record.request,
        record.referrer,
        record.user_agent,
        record.forwarded_for,
    )
    details = None if record.details is None else record.details.model_dump_json(exclude_unset=True)
    escaped = record.escaped_fields
    if _NUL_IN_JSON in value:
        texts, details, escaped = _without_nul(record, texts, details)
    source = record.source
    return (
        record.time,
        parse_address(record.client_address),
        *texts,
        record.status,
        record.body_bytes,
        details,
        escaped,
        source.host,
        source.file,
        source.generation,
        source.offset,
        source.length,
        *place,
    )


@lru_cache(maxsize=65_536)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address; None where the text is none, such as `unix:`."""
    try:
        return ip_address(text)
    except ValueError:
        return None


@dataclass(slots=True)
class _Escaper:
    """Escapes the texts of one record, and remembers which fields it has changed."""

    escaped: list[str]

    def text(self, name: str, text: str) -> str:
        if "\0" not in text:
            return text
        if name not in self.escaped:
            text = text.replace("\\", "\\x5C")
            self.escaped.append(name)
        return text.replace("\0", "\\x00")

    def tree(self, name: str, node: Any) -> Any:
        """The same JSON with every text of it escaped; each list is one field, as in the record."""
        if isinstance(node, str):
            return self.text(name, node)
        if isinstance(node, list):
            return self._list(name, node)
        if isinstance(node, Mapping):
            _refuse_nul(name, "".join(node))
            return {key: self.tree(f"{name}.{key}", one) for key, one in node.items()}
        return node

    def _list(self, name: str, items: list[Any]) -> list[Any]:
        """One name for all of them: when one has to be escaped, the backslashes of the others are, too."""
        texts = [one for one in items if isinstance(one, str)]
        if name not in self.escaped and any("\0" in one for one in texts):
            self.escaped.append(name)
            items = [one.replace("\\", "\\x5C") if isinstance(one, str) else one for one in items]
        return [one.replace("\0", "\\x00") if isinstance(one, str) else one for one in items]


def _without_nul(
    record: AccessRecord, texts: tuple[str | None, ...], details: str | None
) -> tuple[tuple[Any, ...], str | None, tuple[str, ...]]:
    source = record.source
    _refuse_nul("source", source.host + source.file + source.generation)
    _refuse_nul("escaped_fields", "".join(record.escaped_fields))
    escaper = _Escaper(list(record.escaped_fields))
    texts = tuple(None if text is None else escaper.text(name, text) for name, text in zip(TEXTS, texts, strict=True))
    if details is not None:
        details = json.dumps(escaper.tree("details", json.loads(details)), ensure_ascii=False)
    return texts, details, tuple(escaper.escaped)


def _refuse_nul(column: str, text: str) -> None:
    if "\0" in text:
        raise Unstorable(f"{column} holds U+0000")
