"""What may be committed when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumer.progress import Gap, PartitionProgress, missing_offsets
from services.consumer.watch import Lag, measure_lag


def receive_and_take(progress: PartitionProgress, first: int, end: int, stamp_ms: int = 1) -> None:
    progress.receive(first, end)
    progress.take(first, end, stamp_ms)


def test_nothing_is_committed_before_it_is_durable() -> None:
    progress = PartitionProgress()
    assert progress.uncommitted is None
    progress.receive(10, 20)
    assert progress.uncommitted is None
    progress.take(10, 20, 1)
    assert progress.uncommitted is None
    progress.flush()
    assert progress.uncommitted == 20
    progress.commit(20)
    assert progress.uncommitted is None


def test_a_received_batch_that_is_not_taken_holds_the_offset_back() -> None:
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5)
    progress.receive(5, 9)
    progress.flush()
    assert progress.uncommitted == 5


def test_offsets_that_do_not_exist_are_passed_over() -> None:
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5)
    receive_and_take(progress, 8, 10)
    progress.flush()
    assert progress.uncommitted == 10


def test_offsets_behind_the_last_batch_are_durable_when_it_is() -> None:
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5)
    progress.pass_over(7)
    assert progress.uncommitted is None
    progress.flush()
    assert progress.uncommitted == 7
    progress.commit(7)
    progress.pass_over(8)
    assert progress.uncommitted == 8, "nothing waits for the sink"
    progress.pass_over(3)
    assert progress.uncommitted == 8, "the next batch decides what it means that offsets go back"
    receive_and_take(progress, 8, 9)
    progress.flush()
    assert progress.uncommitted == 9


def test_a_partition_that_never_had_a_record_is_committed_up_to_its_position() -> None:
    progress = PartitionProgress()
    progress.begin(None)
    progress.pass_over(0)
    assert progress.uncommitted is None
    progress.pass_over(2)
    assert progress.uncommitted == 2


def test_what_the_group_knows_is_not_committed_again() -> None:
    progress = PartitionProgress()
    progress.begin(5)
    progress.pass_over(5)
    assert progress.uncommitted is None
    receive_and_take(progress, 7, 9)
    progress.flush()
    assert progress.uncommitted == 9


@pytest.mark.parametrize(
    ("expected", "resumed_at", "first_kept", "resets_to_end", "missing"),
    [
        (5, 6, 0, False, 0),  # a marker
        (5, 9, 5, False, 0),  # markers, retention just before them
        (5, 9, 8, False, 3),  # retention, and a marker after it
        (5, 9, 9, False, 4),
        (5, 9, 20, False, 4),  # retention has gone on since
        (5, 9, 7, True, 4),  # what was kept was passed over as well
        (5, 9, 5, True, 0),
        (110, 0, 0, False, -110),  # the topic was made anew
    ],
)
def test_a_gap_is_a_loss_as_far_as_the_broker_keeps_nothing(
    expected: int, resumed_at: int, first_kept: int, resets_to_end: bool, missing: int
) -> None:
    assert missing_offsets(Gap(3, expected, resumed_at), first_kept, resets_to_end=resets_to_end) == missing


def test_offsets_that_go_back_begin_anew() -> None:
    """The topic was made anew, or its tail was lost: that is no reason to crash, nor to commit what is gone."""
    progress = PartitionProgress()
    receive_and_take(progress, 100, 110)
    progress.flush()
    progress.commit(110)
    progress.receive(0, 4)
    assert progress.uncommitted is None
    progress.take(0, 4, 1)
    progress.flush()
    assert progress.uncommitted == 4


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(1, 9), st.integers(0, 3), st.sampled_from(["takes", "flushes", "commits"])
        )
    )
)
def test_committed_is_never_ahead_of_durable(steps: list[tuple[int, int, int, str]]) -> None:
    progress = PartitionProgress()
    at = taken_to = durable_to = 0
    for gap, count, markers, then in steps:
        first, at = at + gap, at + gap + count
        receive_and_take(progress, first, at)
        at += markers
        progress.pass_over(at)
        taken_to = at
        if then != "takes":
            progress.flush()
            durable_to = taken_to
        if then == "commits" and (offset := progress.uncommitted) is not None:
            assert offset == durable_to
            progress.commit(offset)
        assert (progress.uncommitted or 0) <= durable_to


def test_lag_is_unknown_until_something_is_known() -> None:
    assert measure_lag(PartitionProgress(), None, 10, 0) == Lag(None, None)
    assert measure_lag(PartitionProgress(), 4, None, 0) == Lag(None, None)


def test_lag_of_an_untouched_partition_is_that_of_its_position() -> None:
    assert measure_lag(PartitionProgress(), 10, 10, 0) == Lag(0, 0.0)
    assert measure_lag(PartitionProgress(), 4, 10, 0) == Lag(6, None)


def test_lag_counts_what_is_polled_and_not_durable() -> None:
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5, stamp_ms=1_000)
    assert measure_lag(progress, 5, 5, wall_ms=4_000) == Lag(5, 3.0)
    progress.flush()
    assert measure_lag(progress, 5, 5, wall_ms=4_000) == Lag(0, 0.0)


def test_offsets_without_a_record_are_no_lag() -> None:
    """A transaction's marker takes an offset that no poll returns."""
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5)
    progress.flush()
    assert measure_lag(progress, 6, 6, wall_ms=0) == Lag(0, 0.0)
    progress.pass_over(6)
    assert measure_lag(progress, 6, 6, wall_ms=0) == Lag(0, 0.0)
