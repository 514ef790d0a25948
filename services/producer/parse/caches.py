"""Times and numbers of a log to their JSON text, once per distinct one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from pydantic import AwareDatetime, TypeAdapter

from services.producer.parse.variables import Kind

_TIME_LOCAL = re.compile(rb"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {
    name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_TIMES: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
_NUMBERS: TypeAdapter[float] = TypeAdapter(float)
MAX_CACHED_TEXTS = 16_384
# The general way asks for the same second line after line; one line costs a tenth more without this.
_remembered = lru_cache(maxsize=256)


@_remembered
def parse_time_local(raw: bytes) -> datetime:
    """The time with its offset from UTC. Raises ValueError for what is no date, such as `31/Feb/2015…`."""
    match = _TIME_LOCAL.fullmatch(raw)
    if match is None or match[2] not in _MONTHS:
        raise ValueError("not a time like 17/May/2015:10:05:03 +0000")
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    zone = timezone(-offset if match[7] == b"-" else offset)
    return datetime(
        int(match[3]), _MONTHS[match[2]], int(match[1]), int(match[4]), int(match[5]), int(match[6]), tzinfo=zone
    )


@_remembered
def parse_time_iso8601(raw: bytes) -> datetime:
    """The time with its offset from UTC. Raises ValueError for what is no date."""
    return datetime.fromisoformat(raw.decode("ascii"))


def parse_epoch(raw: bytes) -> datetime:
    """`$msec`, seconds since 1970 with or without milliseconds, as a time in UTC."""
    seconds, _, fraction = raw.partition(b".")
    return datetime.fromtimestamp(int(seconds), UTC) + timedelta(milliseconds=int(fraction or b"0"))


PARSE_TIME: Mapping[Kind, Callable[[bytes], datetime]] = {
    Kind.TIME_LOCAL: parse_time_local,
    Kind.TIME_ISO8601: parse_time_iso8601,
    Kind.EPOCH: parse_epoch,
}


class TimeCache(dict[bytes, bytes | None]):
    """`cache[raw]`: the time as the model writes it in JSON, without quotes; None for what is no time. Bounded."""

    def __init__(self, parse: Callable[[bytes], datetime]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, raw: bytes) -> bytes | None:
        if len(self) >= MAX_CACHED_TEXTS:
            self.clear()
        try:
            text = _TIMES.dump_json(self._parse(raw))[1:-1]
        except (ValueError, OverflowError):
            text = None
        self[raw] = text
        return text


class NumberCache(dict[bytes, bytes]):
    """`cache[raw]`: a decimal number as the model writes it in JSON; `null` stays what it is. Bounded."""

    def __missing__(self, raw: bytes) -> bytes:
        if len(self) >= MAX_CACHED_TEXTS:
            self.clear()
        self[raw] = text = raw if raw == b"null" else _NUMBERS.dump_json(float(raw))
        return text
