"""The names of an archive's files, and what they say. Pure.

    ARCHIVE_DIR/nginx_logs/date=2026-11-22/hour=15/p3-00000000000000000042-00000000000000000541.parquet

An hour is counted from 1970 in UTC. A span is a range of offsets of one partition, both ends included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.date().toordinal()
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_OF_HOUR = 3_600_000_000
_FILE_NAME = re.compile(r"p(\d+)-(\d{20})-(\d{20})\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Offsets from `first` up to and including `last`."""

    first: int
    last: int

    def holds(self, other: Span) -> bool:
        return self.first <= other.first and other.last <= self.last


def microseconds_of(time: datetime) -> int:
    """Since 1970, exactly; also for times that are before the year 1 in UTC."""
    return (time - _EPOCH) // _MICROSECOND


def hour_of(microseconds: int) -> int:
    return microseconds // _MICROSECONDS_OF_HOUR


# Of the years that have a date to name a folder by.
FIRST_HOUR = hour_of(microseconds_of(datetime.min.replace(tzinfo=UTC)))
LAST_HOUR = hour_of(microseconds_of(datetime.max.replace(tzinfo=UTC)))


def folder_name(hour: int) -> str:
    """Below the topic's folder, as hive partitioning wants it."""
    day, of_day = divmod(hour, 24)
    return f"date={date.fromordinal(_EPOCH_DAY + day).isoformat()}/hour={of_day:02d}"


def hour_named(date_folder: str, hour_folder: str) -> int | None:
    """The hour of two folders' names; None for strangers."""
    try:
        day = date.fromisoformat(date_folder.removeprefix("date="))
        hour = (day.toordinal() - _EPOCH_DAY) * 24 + int(hour_folder.removeprefix("hour="))
    except ValueError:
        return None
    return hour if folder_name(hour) == f"{date_folder}/{hour_folder}" else None


def file_name(partition: int, span: Span) -> str:
    return f"p{partition}-{span.first:020d}-{span.last:020d}.parquet"


def span_named(name: str, partition: int) -> Span | None:
    """The span of a file of that partition; None for others and strangers."""
    match = _FILE_NAME.fullmatch(name)
    return Span(int(match[2]), int(match[3])) if match and int(match[1]) == partition else None


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same offsets in as few spans as possible, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def missing_from(span: Span, covered: Iterable[Span]) -> list[Span]:
    """The parts of `span` that no covered one holds, in order."""
    found: list[Span] = []
    begin = span.first
    for one in joined(covered):
        if one.last < begin or one.first > span.last:
            continue
        if one.first > begin:
            found.append(Span(begin, one.first - 1))
        begin = one.last + 1
    if begin <= span.last:
        found.append(Span(begin, span.last))
    return found


def redundant(spans: Iterable[Span]) -> list[Span]:
    """Those that lie within another one: what a merge that was cut short has left."""
    found: list[Span] = []
    widest: Span | None = None
    for span in sorted(spans, key=lambda one: (one.first, -one.last)):
        if widest is not None and widest.holds(span):
            found.append(span)
        else:
            widest = span
    return found


def run_to_merge(sizes: Sequence[tuple[Span, int]], seen: Span | None, max_bytes: int, max_files: int) -> list[Span]:
    """The first of an hour's files, by span and size, that may become one; empty when there is nothing to gain.

    A merged file says of every offset in its span that it is archived. So there is no gap in a run, but one of offsets
    that the merging owner has itself `seen`, and so knows to hold nothing of this hour.
    """
    run: list[Span] = []
    run_bytes = 0
    for span, size in sorted(sizes):
        fits = len(run) < max_files and run_bytes + size <= max_bytes
        if run and not (fits and _adjoins(run[-1], span, seen)):
            if len(run) > 1:
                return run
            run, run_bytes = [], 0
        run.append(span)
        run_bytes += size
    return run if len(run) > 1 else []


def _adjoins(before: Span, after: Span, seen: Span | None) -> bool:
    gap = Span(before.last + 1, after.first - 1)
    return gap.last < gap.first or (seen is not None and seen.holds(gap))
