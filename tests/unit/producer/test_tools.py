"""The tools' own parts: ranges, progress, selections, dead letters."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.producer.parse import ChunkParser, LogFormat
from services.producer.replay.selection import line_boundaries, parse_bound, select, time_of
from services.producer.replay_dead_letters.letters import (
    Report,
    Resolved,
    line_of,
    parse_again,
    parse_reasons,
    refusal,
)
from shared.errors import InvalidSettings
from shared.schemas import DeadLetter, DeadLetterReason
from shared.tools.command import harmless
from shared.tools.marks import is_replayed, replay_headers
from shared.tools.progress import Progress
from shared.tools.ranges import Ranges
from tests.unit.producer.lines import COMBINED, chunk_of, parse

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=30)


@given(spans)
def test_ranges_hold_what_was_added_and_never_touch(added: list[tuple[int, int]]) -> None:
    """In any order, overlapping or not: the same as a set of numbers."""
    ranges = Ranges()
    numbers: set[int] = set()
    for start, length in added:
        ranges.add(start, start + length)
        numbers |= set(range(start, start + length))
    assert {number for number in range(80) if number in ranges} == numbers
    assert ranges.size == len(numbers)
    merged = list(ranges)
    assert len(ranges) == len(merged)
    assert all(end < following for (_, end), (following, _) in pairwise(merged))


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError):
        Ranges().add(3, 3)


def test_progress_is_a_line_now_and_then() -> None:
    """Percent, rate, what is left; nothing at all for what is short."""
    clock = [0.0]
    stream = io.StringIO()
    progress = Progress("reading", 1000, "records", lambda: clock[0], stream)
    progress.add(10)
    assert stream.getvalue() == ""
    clock[0] = 4.0
    progress.add(390)
    progress.add(1)
    assert stream.getvalue() == "reading: 40 %, 400 of 1,000 records, 100/s, 6 s left\n"
    progress.finish()
    assert stream.getvalue().count("\n") == 2
    silent = io.StringIO()
    Progress("reading", 0, "records", lambda: 0.0, silent).finish()
    assert silent.getvalue() == ""


def test_bounds_are_bytes_or_times() -> None:
    """A time without a zone is UTC."""
    assert parse_bound("FROM", None) is None
    assert parse_bound("FROM", "38561") == 38561
    assert parse_bound("FROM", "2026-11-22T16:00") == datetime(2026, 11, 22, 16, tzinfo=UTC)
    assert parse_bound("FROM", "2026-11-22T17:00+01:00") == datetime(2026, 11, 22, 16, tzinfo=UTC)
    with pytest.raises(InvalidSettings, match="TO='soon'"):
        parse_bound("TO", "soon")


def test_a_selection_stays_within_what_is_confirmed() -> None:
    """Without bounds it is all of that."""
    whole = select(None, None, 100)
    assert (whole.start, whole.end, whole.by_time) == (0, 100, False)
    later, sooner = datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    for start, end in ((None, 101), (50, 50), (100, None), (later, sooner)):
        with pytest.raises(InvalidSettings):
            select(start, end, 100)


def test_a_selection_by_time_leaves_out_what_has_none() -> None:
    """From its beginning up to, but not including, its end."""
    later = COMBINED.replace(b"10:05:03", b"10:05:04")
    parsed = parse(COMBINED, later, b"junk")
    since = datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
    selected = select(since, since.replace(second=4), 1000).of(parsed)
    assert (selected.offsets, selected.rejects) == ([0], [])
    assert [time_of(value) for value in selected.values] == [since]
    assert select(None, None, 1000).of(parsed) is parsed


@given(st.integers(0, 200))
def test_the_nearest_boundaries_are_beginnings_of_lines(position: int) -> None:
    chunk = chunk_of(b"a" * 90, b"", b"b" * 120, start=50)
    starts = [50, 141, 142, 263]
    before, after = line_boundaries(chunk, 50 + position)
    assert before == max(start for start in starts if start <= 50 + position)
    assert after == min(start for start in starts if start >= 50 + position)


def letter(raw: bytes = COMBINED, **fields: object) -> DeadLetter:
    made = {
        "raw": raw,
        "raw_length": len(raw),
        "reason": DeadLetterReason.UNPARSEABLE_LINE,
        "message": "no",
        "service": "producer",
        "source_host": "web-1",
        "source_file": "/log",
        "source_generation": "g",
        "source_offset": 70,
        **fields,
    }
    return DeadLetter.model_validate(made)


def test_a_dead_letter_parsed_again_keeps_its_place() -> None:
    """Host, file, generation and offset are those of the line, so it can be recognised."""
    dead = letter()
    line = line_of(dead.raw, b"g", dead.headers(), "web-1", (3, 17))
    assert line is not None
    assert refusal(line) is None
    parsed = parse_again(ChunkParser(LogFormat.AUTO, "web-1"), line)
    assert b'"file":"/log","generation":"g","offset":70,"length":%d' % len(COMBINED) in parsed.values[0]


def test_only_whole_rejected_lines_of_this_host_are_parsed_again() -> None:
    """Neither markers nor other hosts' nor consumers' nor strangers'; and nothing that was cut."""
    headers = letter().headers()
    for others in ([("dlt-resolved", b"3/17"), *headers], [], [("dlt-reason", b"new_one")]):
        assert line_of(COMBINED, None, others, "web-1", (0, 0)) is None
    assert line_of(COMBINED, None, headers, "web-2", (0, 0)) is None
    for cut in (letter(raw_length=1000), letter(reason=DeadLetterReason.UNTERMINATED_LINE)):
        line = line_of(cut.raw, None, cut.headers(), "web-1", (0, 0))
        assert line is not None
        assert refusal(line)


def test_a_marker_resolves_its_line_and_no_other() -> None:
    """It says which dead letter, and carries the place of the line. Readers of dead letters pass it over."""
    dead = letter()
    line = line_of(dead.raw, b"g", dead.headers(), "web-1", (3, 17))
    assert line is not None
    headers = [*line.marker_headers(), *replay_headers("run", "now")]
    assert dict(headers)["dlt-resolved"] == b"3/17"
    assert is_replayed(headers)
    with pytest.raises(ValueError):
        DeadLetter.from_record(b"", b"g", headers)
    resolved = Resolved()
    resolved.add_marker(headers, "web-2")
    assert ("g", 70) not in resolved
    resolved.add_marker(headers, "web-1")
    assert ("g", 70) in resolved
    assert ("g", 71 + len(COMBINED)) not in resolved
    assert ("h", 70) not in resolved
    resolved.add_marker([("dlt-resolved", b"0/0"), ("dlt-original-consumer-group", b"g")], "web-1")


def test_the_report_names_reasons_and_samples() -> None:
    """Samples are few and short, and no line steers a terminal."""
    report = Report()
    report.sent["invalid_value"] += 2
    for number in range(9):
        dead = letter(b"\x1b]0;title" + b"x" * 500, source_offset=number)
        line = line_of(dead.raw, None, dead.headers(), "web-1", (0, number))
        assert line is not None
        report.keep(line, "still junk")
    said = harmless("\n".join(report.lines()))
    assert "Records now: 2 (invalid_value: 2)." in said
    assert "Still dead letters: 9 (unparseable_line: 9)." in said
    assert said.count("still junk") == 3
    assert "\x1b" not in said
    report.begin()
    assert (report.still.total(), report.sent.total()) == (0, 2)


def test_reasons_are_those_that_a_parser_can_mend() -> None:
    assert parse_reasons("invalid_value, unparseable_line") == [
        DeadLetterReason.INVALID_VALUE,
        DeadLetterReason.UNPARSEABLE_LINE,
    ]
    for wrong in ("line_too_long", "color"):
        with pytest.raises(ValueError):
            parse_reasons(wrong)
