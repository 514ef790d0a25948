"""Moments as people type them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"-(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_moment(text: str, now: datetime) -> datetime:
    """An ISO time, in UTC where it says no zone, or so long before `now`: -90s, -30m, -2h, -7d. Raises ValueError."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """As Kafka's timestamps count."""
    return round(moment.timestamp() * 1000)


def iso_of(timestamp_ms: int) -> str:
    """A Kafka timestamp as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="seconds")
