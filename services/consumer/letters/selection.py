"""Which dead letters are meant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from shared.errors import InvalidSettings
from shared.kafka.records import ReceivedRecord
from shared.schemas import DeadLetter, DeadLetterReason
from shared.tools.marks import RESOLVED
from shared.tools.moments import milliseconds, parse_moment


@dataclass(frozen=True, slots=True)
class Selection:
    """What every chosen letter has; None asks for nothing."""

    reasons: frozenset[DeadLetterReason] | None = None
    group: str | None = None
    service: str | None = None
    since_ms: int | None = None

    def takes(self, letter: DeadLetter, timestamp_ms: int) -> bool:
        """Whether a letter that was written at that time is meant."""
        return (
            (self.reasons is None or letter.reason in self.reasons)
            and (self.group is None or letter.original_consumer_group == self.group)
            and (self.service is None or letter.service == self.service)
            and (self.since_ms is None or timestamp_ms >= self.since_ms)
        )


def parse_selection(
    reasons: str | None, group: str | None, service: str | None, since: str | None, now: datetime
) -> Selection:
    """From what was typed. Raises InvalidSettings."""
    return Selection(_parse_reasons(reasons) if reasons else None, group, service, _parse_since(since, now))


def _parse_reasons(text: str) -> frozenset[DeadLetterReason]:
    try:
        return frozenset(DeadLetterReason(word.strip()) for word in text.split(","))
    except ValueError:
        raise InvalidSettings(f"REASON={text!r} is not allowed; use {', '.join(DeadLetterReason)}") from None


def _parse_since(text: str | None, now: datetime) -> int | None:
    try:
        return milliseconds(parse_moment(text, now)) if text else None
    except ValueError:
        raise InvalidSettings(f"SINCE={text!r} is no time; use -2h, -30m, -7d or 2026-11-22T16:00") from None


def is_marker(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether a record of the dead-letter topic says that a letter was sent again, and is none itself."""
    return any(name == RESOLVED for name, _value in headers)


def letter_of(record: ReceivedRecord) -> DeadLetter | None:
    """The letter that this record is; None for a marker and for what a stranger wrote."""
    if is_marker(record.headers):
        return None
    try:
        return DeadLetter.from_record(record.value or b"", record.key, record.headers)
    except (ValidationError, UnicodeDecodeError):
        return None
