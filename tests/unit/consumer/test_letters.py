"""Dead letters of a group: which are meant, how they are counted, what is sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from services.consumer.letters.resend import GroupPlan
from services.consumer.letters.selection import Selection, letter_of, parse_selection
from services.consumer.letters.summary import MAX_KINDS, MAX_PLACES, Summary
from shared.errors import InvalidSettings
from shared.schemas import DeadLetter, DeadLetterReason
from shared.tools.moments import iso_of, milliseconds, parse_moment
from shared.tools.resending import Resend, Target

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
MARK = (("replay", b"run"),)


@dataclass(frozen=True)
class Received:
    """A record of the dead-letter topic."""

    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None = b"k"
    timestamp: int = 1_000


def letter(number: int, **fields: Any) -> DeadLetter:
    made = {
        "raw": b"junk",
        "raw_length": 4,
        "reason": DeadLetterReason.SINK_FAILED,
        "message": "it failed",
        "service": "s",
        "key": b"k",
        "original_topic": "t",
        "original_partition": 1,
        "original_offset": number,
        "original_consumer_group": "g",
        "exception_name": "ValueError",
        **fields,
    }
    return DeadLetter.model_validate(made)


def received(number: int, **fields: Any) -> Received:
    made = letter(number, **fields)
    return Received(100 + number, made.raw, made.headers(), made.key)


def begun(selection: Selection = Selection(), partition_count: int = 8) -> GroupPlan:  # noqa: B008
    plan = GroupPlan("t", "d", "g", selection)
    plan.begin(Target(partition_count, 1000, MARK))
    return plan


def taken(plan: GroupPlan, *records: Received) -> list[Resend]:
    return [resend for record in records if (resend := plan.take(5, record))]


def test_a_letter_becomes_a_record_for_its_group_and_a_marker() -> None:
    """The record has bytes, key and partition of the original; the marker stands beside the letter."""
    [resend] = taken(begun(), received(7))
    record, marker = resend.record, resend.marker
    assert (record.topic, record.partition, record.key, record.value) == ("t", 1, b"k", b"junk")
    assert dict(record.headers) == {"replay-for": b"g", "replay": b"run"}
    assert (marker.topic, marker.partition, marker.key, marker.value) == ("d", 5, b"k", b"")
    assert dict(marker.headers)["dlt-resolved"] == b"5/107"
    assert letter_of(Received(0, b"", marker.headers)) is None


def test_a_record_is_sent_once_however_many_letters_tell_of_it() -> None:
    """Marked by an earlier run, or set aside twice because the group crashed; markers of others count for nothing."""
    [resend] = taken(begun(), received(7))
    plan = begun()
    plan.note_marker(resend.marker.headers)
    plan.note_marker([("dlt-resolved", b"0/0"), ("dlt-source-host", b"web-1")])
    assert len(taken(plan, received(7), received(8), received(8))) == 1
    assert (plan.report.sent_before, plan.report.doubled) == (1, 1)
    other = GroupPlan("t", "d", "other", Selection())
    other.begin(Target(8, 1000, MARK))
    other.note_marker(resend.marker.headers)
    assert taken(other, received(7, original_consumer_group="other"))


def test_what_cannot_be_sent_is_told_with_the_reason() -> None:
    """Never sent: what was cut, what comes from another topic, what the topic would refuse."""
    plan = begun()
    records = [
        received(1, raw_length=9),
        received(2, original_topic="old"),
        received(3, raw=b"x" * 950, raw_length=950),
    ]
    assert taken(plan, *records, received(4, original_consumer_group="other")) == []
    assert set(plan.report.left) == {
        "only the beginning of the value was kept",
        "they come from another topic, old",
        "they are larger than the topic takes, 1000 bytes",
    }
    assert "Not sent: 1, because only the beginning of the value was kept." in list(plan.report.lines())


def test_only_the_selection_is_sent() -> None:
    chosen = Selection(frozenset({DeadLetterReason.SINK_REJECTED}))
    found = taken(begun(chosen), received(1), received(2, reason=DeadLetterReason.SINK_REJECTED))
    assert [resend.reason for resend in found] == ["sink_rejected"]


def test_a_partition_that_is_gone_is_replaced_by_that_of_the_key() -> None:
    [resend] = taken(begun(partition_count=1), received(1))
    assert resend.record.partition == 0


def test_the_report_counts_what_is_sent_over_several_attempts() -> None:
    """What an attempt committed is found marked by the next."""
    plan = begun()
    [resend, _other] = taken(plan, received(1), received(2))
    plan.on_sent(Counter({"sink_failed": 1}))
    plan.begin(Target(8, 1000, MARK))
    plan.note_marker(resend.marker.headers)
    assert len(taken(plan, received(1), received(2))) == 1
    plan.on_sent(Counter({"sink_failed": 1}))
    assert list(plan.report.lines()) == ["Sent: 2 (sink_failed: 2)."]


def test_a_preview_shows_some_letters_in_one_line_each() -> None:
    plan = begun()
    taken(plan, *(received(number, raw=b"a\nb", raw_length=3) for number in range(9)))
    shown = list(plan.report.preview())
    assert shown[0] == "To be sent: 9 (sink_failed: 9)."
    assert len(shown) == 4
    assert shown[1].endswith("it failed: a\\nb")


def test_a_summary_is_bounded() -> None:
    """Kinds, places and samples; all letters are counted all the same."""
    summary = Summary(2)
    for number in range(3 * MAX_PLACES):
        summary.add(letter(number, original_partition=number), 0, number, 1_000 + number)
    for number in range(2 * MAX_KINDS):
        summary.add(letter(number, exception_name=f"E{number}"), 0, number, 0)
    assert len(summary.kinds) == MAX_KINDS
    assert summary.count == 3 * MAX_PLACES + 2 * MAX_KINDS
    _kind, tally = summary.by_count()[0]
    assert (len(tally.places), tally.elsewhere, len(tally.samples)) == (MAX_PLACES, 2 * MAX_PLACES, 2)
    assert any("more kinds" in line for line in summary.lines("d"))


def test_a_summary_tells_of_lines_and_of_cut_values() -> None:
    summary = Summary(1)
    line = DeadLetter(
        raw=b"\xff" * 999,
        raw_length=5000,
        reason=DeadLetterReason.LINE_TOO_LONG,
        message="too long",
        service="producer",
        source_host="web-1",
        source_file="/log",
        source_generation="g",
        source_offset=70,
    )
    summary.add(line, 3, 17, 1_000)
    [kind] = summary.document("d")["kinds"]
    assert (kind["group"], kind["cut"], kind["first"]) == (None, 1, "1970-01-01T00:00:01+00:00")
    assert kind["places"] == {"web-1:/log": {"first": 70, "last": 70, "count": 1}}
    assert kind["samples"][0]["dead_letter"] == "3/17"
    assert len(kind["samples"][0]["value"]) == 200


def test_a_selection_is_typed() -> None:
    found = parse_selection("sink_failed, invalid_record", "g", None, "-2h", NOW)
    assert set(found.reasons or ()) == {DeadLetterReason.SINK_FAILED, DeadLetterReason.INVALID_RECORD}
    assert found.since_ms == milliseconds(NOW) - 7_200_000
    assert found.takes(letter(1), milliseconds(NOW))
    assert not found.takes(letter(1), 0)
    assert not found.takes(letter(1, original_consumer_group="h"), milliseconds(NOW))
    for reason, since in (("ugly", None), (None, "soon")):
        with pytest.raises(InvalidSettings):
            parse_selection(reason, None, None, since, NOW)


def test_moments_are_typed_in_two_ways() -> None:
    assert parse_moment("-90s", NOW) == datetime(2026, 11, 22, 15, 58, 30, tzinfo=UTC)
    assert parse_moment("2026-11-22", NOW) == datetime(2026, 11, 22, tzinfo=UTC)
    assert iso_of(milliseconds(NOW)) == "2026-11-22T16:00:00+00:00"
