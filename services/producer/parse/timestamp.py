"""`$time_local` to the JSON text of its time, once per distinct second."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from pydantic import AwareDatetime, TypeAdapter

_TIME_LOCAL = re.compile(rb"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {
    name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_ADAPTER: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
MAX_CACHED_TIMES = 16_384


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


class TimeCache(dict[bytes, bytes | None]):
    """`cache[raw]`: the time as the model writes it in JSON, without quotes; None for what is no time. Bounded."""

    def __missing__(self, raw: bytes) -> bytes | None:
        if len(self) >= MAX_CACHED_TIMES:
            self.clear()
        try:
            text = _ADAPTER.dump_json(parse_time_local(raw))[1:-1]
        except (ValueError, OverflowError):
            text = None
        self[raw] = text
        return text
