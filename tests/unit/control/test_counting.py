"""Judging what was written against what came out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from compose.control.counting import (
    Finding,
    Snapshot,
    contested_partitions,
    explanations,
    marked_lines,
    numbers_in,
    restarted,
    tally,
)
from compose.control.stack import Replica
from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, format_of_setting
from shared.kafka.groups import Group, Member

NOW = datetime(2026, 5, 17, 10, 5, 3, tzinfo=UTC)


def group(*owned: tuple[int, ...], name: str = "consumer") -> Group:
    members = tuple(Member(f"member-{number}", "client", "host", partitions) for number, partitions in enumerate(owned))
    return Group(name, "Stable", members, {})


def replica(started_at: str | None, name: str = "consumer-1", service: str = "consumer") -> Replica:
    return Replica(name, service, "running", "ready", None, started_at)


def test_marked_lines_have_the_form_that_the_producer_expects() -> None:
    """Combined by default; the others where the stack was told so."""
    [line] = marked_lines("abc", 7, 1, NOW, "auto")
    head = '198.51.100.8 - - [17/May/2026:10:05:03 +0000] "GET /verify/abc/7 HTTP/1.1" 200 17'
    assert line == head + ' "-" "make verify"'
    assert list(marked_lines("abc", 7, 1, NOW, "common")) == [head]
    assert list(marked_lines("abc", 7, 1, NOW, "main")) == [line + ' "-"']


@pytest.mark.parametrize(
    "text",
    [
        '$remote_addr [$time_local] "$request" $status $request_time',
        '$msec $status $request_method "$uri$is_args$args" "$http_user_agent"',
        'escape=json {"time":"$time_iso8601","status":$status,"target":"$request_uri"}',
    ],
)
def test_marked_lines_can_be_written_in_any_format(text: str) -> None:
    """The producer reads them as records with the marked path."""
    line = next(marked_lines("abc", 7, 1, NOW, text)).encode() + b"\n"
    parser = ChunkParser(lambda _path: format_of_setting(text), "h")
    parsed = parser.parse(Chunk(FileIdentity("/a.log", 0, 0, "g", 0, ""), 0, len(line), line))
    assert list(numbers_in(parsed.values, "abc")) == [7]


def test_numbers_are_read_from_values_and_from_printed_records() -> None:
    """Both sinks' forms; other runs, other records and other lines do not count."""
    value = json.dumps({"path": "/verify/abc/3"})
    lines = [value, f'{{"event":"record","record":{value}}}', json.dumps({"path": "/verify/xyz/4"}), "no /verify/abc/5"]
    assert list(numbers_in([*lines, json.dumps({"path": None})], "abc")) == [3, 3]


def test_a_tally_tells_missing_from_doubled() -> None:
    """Numbers count from 0."""
    counted = tally([0, 2, 2], expected=4)
    assert (counted.received, counted.missing, counted.doubled) == (2, (1, 3), (2,))


def test_a_partition_with_two_owners_is_contested() -> None:
    """Exclusive ownership is what a group is for."""
    assert contested_partitions(group((0, 1), (1, 2))) == (1,)
    assert contested_partitions(group((0, 1), (2,))) == ()


def test_a_complete_finding_has_no_problems() -> None:
    """All there, once."""
    assert Finding("consumer", tally(range(3), 3), ()).problems == ()


@pytest.mark.parametrize(
    ("finding", "word"),
    [
        (Finding("consumer", tally([0], 2), ("rebalanced",)), "missing"),
        (Finding("consumer", tally([0, 0], 1), ()), "doubled"),
        (Finding("consumer", tally([0], 1), (), contested=(3,)), "two members own partition 3"),
    ],
)
def test_what_is_wrong_is_said(finding: Finding, word: str) -> None:
    """Missing is never excused, doubled only with a reason, shared ownership never."""
    [problem] = finding.problems
    assert word in problem


def test_doubled_with_a_reason_passes() -> None:
    """At-least-once delivery repeats what was not committed when a group moved."""
    assert Finding("consumer", tally([0, 0], 1), ("rebalanced",)).problems == ()


def test_a_rebalance_and_a_restart_explain() -> None:
    """Both are seen by comparing two moments."""
    before = Snapshot({"consumer": group((0, 1))}, [replica("1")])
    after = Snapshot({"consumer": group((0,), (1,))}, [replica("2")])
    reasons = explanations(before, after, "consumer", "consumer")
    assert reasons == ("group consumer rebalanced: 1 members before, 2 after", "consumer-1 was started again")
    assert explanations(before, before, "consumer", "consumer") == ()


def test_a_replica_that_is_gone_counts_as_restarted() -> None:
    """Its work went to others."""
    assert restarted(Snapshot({}, [replica("1")]), Snapshot({}, []), "consumer") == ("consumer-1",)
    assert restarted(Snapshot({}, [replica("1")]), Snapshot({}, []), "producer") == ()
