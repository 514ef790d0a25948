"""The JSON of a record with holes, made from the model itself, so that the fast way cannot drift from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from services.producer.parse.fast_expression import Hole
from services.producer.parse.variables import TIMES, Kind, Path
from shared.schemas import SCHEMA_VERSION, AccessRecord, Source
from shared.schemas.terminal import escape_terminal_controls

_TIME = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_SOURCE = Source(host="", file="", generation="", offset=0, length=0)
# What is null where the format does not tell it. The other required fields are given for every format.
_NULL_FIELDS = (
    *("remote_user", "method", "path", "query", "protocol", "request", "body_bytes"),
    *("referrer", "user_agent", "forwarded_for"),
)
UNKNOWN_ADDRESS = "-"


def empty_record() -> dict[str, Any]:
    """The fields of a record of which nothing is known but that it is one; time, status and source are missing."""
    fields: dict[str, Any] = dict.fromkeys(_NULL_FIELDS)
    return {**fields, "schema_version": SCHEMA_VERSION, "client_address": UNKNOWN_ADDRESS, "escaped_fields": ()}


def put(fields: dict[str, Any], path: Path, value: object) -> None:
    """Set a field that may be in an object of the record."""
    for name in path[:-1]:
        fields = fields.setdefault(name, {})
    fields[path[-1]] = value


class RecordTemplate:
    """The JSON of the records of one format, up to what differs from file to file."""

    def __init__(self, holes: Iterable[Hole], kinds: Mapping[Path, Kind]) -> None:
        """`kinds` has the kind of each path that a hole fills; one that it lacks is text."""
        samples = {hole: _sample(kinds.get(hole.path, Kind.TEXT), number) for number, hole in enumerate(holes)}
        fields = {**empty_record(), "time": _TIME, "status": 701, "source": _SOURCE}
        for hole, sample in samples.items():
            put(fields, hole.path, sample)
        rest = AccessRecord.model_validate(fields).to_json()
        rest = rest.removesuffix(_SOURCE.model_dump_json().encode() + b"}").replace(b"%", b"%%")
        found = {hole: _json(sample) for hole, sample in samples.items()}
        ordered = sorted(found, key=lambda hole: rest.index(found[hole]))
        self.codes = tuple(hole.code for hole in ordered)
        self._head = b""
        for hole in ordered:
            before, sample_text, rest = rest.partition(found[hole])
            assert sample_text, f"{found[hole]!r} is not where the template expects it"
            self._head += before + hole.mark
        self._head += rest

    def of_file(self, host: str, file: str, generation: str) -> bytes:
        """A template for `%`: the holes in the order of `codes`, then offset and length of the line."""
        source = Source(host=host, file=file, generation=generation, offset=0, length=0)
        body = escape_terminal_controls(source.model_dump_json().encode()).removesuffix(b'"offset":0,"length":0}')
        return self._head + body.replace(b"%", b"%%") + b'"offset":%d,"length":%d}}'


def _json(sample: object) -> bytes:
    return b'"2001-02-03T04:05:06Z"' if sample is _TIME else json.dumps(sample).encode()


def _sample(kind: Kind, number: int) -> object:
    """A value of the kind that stands nowhere else in the JSON."""
    count, decimal, text = 900_000_000_000_000_000 + number, 800_000_000.5 + number, f"<{number}>"
    samples: Mapping[Kind, object] = {
        **dict.fromkeys(TIMES, _TIME),
        Kind.STATUS: 701,
        Kind.COUNT: count,
        Kind.NUMBER: decimal,
        Kind.WORDS: (text,),
        Kind.STATUSES: (702,),
        Kind.COUNTS: (count,),
        Kind.NUMBERS: (decimal,),
    }
    return samples.get(kind, text)
