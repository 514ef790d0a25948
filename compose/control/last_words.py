"""Why a process ended, from the last lines of its log. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

MAX_CHARACTERS = 300
SEVERE = frozenset({"error", "critical"})
# What a service prints before the reason, when it cannot start because of its settings; it has no log yet then.
CANNOT_START = "This service cannot start."


def last_error(lines: Sequence[str]) -> str | None:
    """The last line that tells of an error, short and fit for a terminal; None without one."""
    for number in range(len(lines) - 1, -1, -1):
        text = _event(lines[number])
        if text is None and lines[number].strip() == CANNOT_START:
            text = " ".join(lines[number + 1 : number + 2])
        if text:
            short = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
            return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in short)
    return None


def _event(line: str) -> str | None:
    """A line of our log in words when it is an error; None for any other line."""
    try:
        event = json.loads(line)
        if event["level"] not in SEVERE:
            return None
        return f"{event['event']}: {event['error']}" if "error" in event else str(event["event"])
    except (ValueError, KeyError, TypeError):
        return None
