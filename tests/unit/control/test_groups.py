"""make groups, make reset-group: what is known, what is not, and where a group is to go on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from compose.control.groups_view import document, rebalances_in, remarks, views
from compose.control.report import show_group_views, span_of
from compose.control.reset_plan import Move, parse_partitions, parse_target, plan, warning
from compose.errors import OperatorError
from shared.kafka.groups import Group, Member
from shared.kafka.lag import GroupsSeen
from shared.kafka.scan import Span

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


def group(committed: Mapping[int, int], *owned: tuple[int, ...], state: str = "Stable") -> Group:
    members = tuple(Member(f"member-{number}", "client", "192.0.2.1", each) for number, each in enumerate(owned))
    return Group("g", state, members, committed)


def seen(found: Group, before: Mapping[int, int], held: Mapping[int, Span]) -> GroupsSeen:
    return GroupsSeen((found,), {"g": before}, 2.0, held, {("g", 0): 90.0}, 3)


def test_what_is_not_known_is_not_zero() -> None:
    """A partition without a commit, one that was never written, one behind whose end the group stands."""
    held = {0: Span(0, 100), 1: Span(0, 100), 2: Span(0, 0), 3: Span(0, 5)}
    [view] = views(seen(group({0: 40, 3: 9}, (0, 1, 2, 3)), {0: 20}, held), {})
    first, silent, empty, ahead = view.partitions
    assert (first.lag, first.lag_s, first.rate_per_s, first.deleted) == (60, 90.0, 10.0, 0)
    assert (silent.lag, silent.lag_s, silent.rate_per_s) == (None, None, None)
    assert (empty.lag, empty.lag_s, empty.rate_per_s) == (0, 0.0, None)
    assert (ahead.lag, ahead.lag_s) == (None, None)
    assert (view.lag, view.rate_per_s, view.rebalances) == (None, None, None)
    assert "It committed more than partitions 3 hold: the topic was made anew since." in list(remarks(view))


def test_deleted_records_and_partitions_of_nobody_are_told() -> None:
    held = {0: Span(50, 100), 1: Span(0, 0)}
    [view] = views(seen(group({0: 40}, (0,)), {0: 40}, held), {"g": 7})
    assert view.partitions[0].deleted == 10
    assert view.read_by_nobody == (1,)
    told = " ".join(remarks(view))
    assert "10 offsets were deleted by age" in told
    assert "Partitions that nobody reads: 1." in told
    assert "Assignments since its replicas started: 7." in told


@pytest.mark.parametrize(
    ("found", "because"),
    [
        (group({}, (0,), (1,), ()), "more replicas (3) than partitions (2)"),
        (group({}, (0, 1), ()), "the group gave it none of this topic"),
        (group({}, (), (), state="PreparingRebalance"), "the group is not settled (PreparingRebalance)"),
    ],
)
def test_an_idle_replica_has_a_reason(found: Group, because: str) -> None:
    [view] = views(seen(found, {}, {0: Span(0, 1), 1: Span(0, 1)}), {})
    assert view.members[-1].idle_because == because
    assert any(because in remark for remark in remarks(view))


def test_the_table_and_the_document_tell_of_every_partition(capsys: pytest.CaptureFixture[str]) -> None:
    """Names come from other clients: markup in them is text."""
    looked = seen(group({0: 40}, (0,), ()), {0: 20}, {0: Span(0, 100), 1: Span(0, 3)})
    found = views(looked, {})
    show_group_views(found, looked)
    told = capsys.readouterr().out
    for word in ("member-0", "nobody", "unknown", "idle", "90.0 s", "Groups of other topics, left out: 3."):
        assert word in told
    made = document("t", looked, found)
    assert (made["groups_of_other_topics"], made["groups"][0]["partitions"][1]["lag"]) == (3, None)


def test_a_group_without_a_state_is_another_protocols_or_misspelt() -> None:
    for committed, told in (({0: 4}, "a newer protocol"), ({}, "Is that its name?")):
        [view] = views(seen(group(committed, state="Dead"), {}, {0: Span(0, 9)}), {})
        assert any(told in remark for remark in remarks(view))


def test_a_span_of_time_is_told_in_its_unit() -> None:
    shown = [span_of(seconds) for seconds in (None, 0.0, 90, 150, 7200, 200_000)]
    assert shown == ["unknown", "0.0 s", "90.0 s", "2 min", "2 h", "2 d"]


def test_a_replica_tells_its_rebalances() -> None:
    text = '# HELP x\nnginx_pipeline_consumer_rebalances_total{consumergroup="g"} 4.0\nother 1.0\n'
    assert rebalances_in(text) == 4
    assert rebalances_in("") is None


def test_where_to_go_on_is_typed_in_four_ways() -> None:
    assert [parse_target(text, NOW) for text in ("earliest", "latest", "17")] == ["earliest", "latest", 17]
    assert parse_target("-2h", NOW) == datetime(2026, 11, 22, 14, tzinfo=UTC)
    assert parse_target("2026-11-22T15:00+01:00", NOW) == datetime(2026, 11, 22, 14, tzinfo=UTC)
    for text in (None, "", "-5", "soon", "-2y"):
        with pytest.raises(OperatorError, match="no place to go on from"):
            parse_target(text, NOW)


def test_partitions_are_named_or_all() -> None:
    assert parse_partitions(None, (2, 0, 1)) == (0, 1, 2)
    assert parse_partitions("2, 0,2", (0, 1, 2)) == (0, 2)
    for text in ("3", "-1", "0,", "a"):
        with pytest.raises(OperatorError, match="no partition"):
            parse_partitions(text, (0, 1, 2))


def test_every_move_is_clipped_and_says_what_it_does() -> None:
    held = {0: Span(10, 100), 1: Span(0, 5)}
    found = group({0: 50})
    assert plan(found, (0, 1), held, "earliest", {}) == (Move(0, 50, 10, 10), Move(1, None, 0, 0))
    assert plan(found, (0,), held, "latest", {}) == (Move(0, 50, 100, 100),)
    assert plan(found, (0,), held, NOW, {0: Span(60, 100)}) == (Move(0, 50, 60, 60),)
    [high, other] = plan(found, (0, 1), held, 1000, {})
    assert (high.to, other.to) == (100, 5)
    assert high.effect == "50 skipped (asked for 1,000, which is not there)"
    assert Move(0, 50, 20, 20).effect == "30 again"
    assert Move(0, 50, 50, 50).effect == "stays"
    assert Move(0, None, 0, 0).effect == "begins here; it had committed nothing"


def test_sinks_of_their_own_mind_are_warned_of() -> None:
    assert [warning(sink) for sink in ("stdout", "handler")] == [None, None]
    for sink in ("postgres", "alerts"):
        assert "keeps its own offsets" in (warning(sink) or "")
    assert "What is skipped here is not archived" in (warning("archive") or "")
    assert "once more" in (warning("kafka") or "")
    assert "not known" in (warning(None) or "")
