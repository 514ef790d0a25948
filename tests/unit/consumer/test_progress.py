"""What may be committed when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.consumer.progress import PartitionProgress
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


def test_offsets_that_do_not_exist_are_passed_over_and_counted() -> None:
    progress = PartitionProgress()
    receive_and_take(progress, 0, 5)
    assert progress.receive(8, 10) == 3
    progress.take(8, 10, 1)
    progress.flush()
    assert progress.uncommitted == 10


def test_offsets_that_go_back_begin_anew() -> None:
    """The topic was made anew, or its tail was lost: that is no reason to crash, nor to commit what is gone."""
    progress = PartitionProgress()
    receive_and_take(progress, 100, 110)
    progress.flush()
    progress.commit(110)
    assert progress.receive(0, 4) == -110
    assert progress.uncommitted is None
    progress.take(0, 4, 1)
    progress.flush()
    assert progress.uncommitted == 4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.sampled_from(["takes", "flushes", "commits"]))))
def test_committed_is_never_ahead_of_durable(steps: list[tuple[int, int, str]]) -> None:
    progress = PartitionProgress()
    at = taken_to = durable_to = 0
    for gap, count, then in steps:
        first, at = at + gap, at + gap + count
        receive_and_take(progress, first, at)
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
