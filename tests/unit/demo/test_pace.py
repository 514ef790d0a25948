"""A steady rate without a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.demo.pace import Pace


def test_first_piece_is_due_at_once_and_the_next_after_the_interval() -> None:
    pace = Pace(rate_per_s=4, now=100.0)
    assert pace.take_due(100.0, at_most=10) == 1
    assert pace.take_due(100.0, at_most=10) == 0
    assert pace.wait_s(100.0) == pytest.approx(0.25)
    assert pace.take_due(100.25, at_most=10) == 1


def test_what_was_missed_in_a_short_pause_is_made_up_for() -> None:
    pace = Pace(rate_per_s=10, now=0.0)
    pace.take_due(0.0, at_most=100)
    assert pace.take_due(0.55, at_most=100) == 5


def test_a_long_pause_does_not_end_in_a_burst() -> None:
    pace = Pace(rate_per_s=10, now=0.0, catch_up_s=1.0)
    assert pace.take_due(3_600.0, at_most=1_000) == 11


@given(st.lists(st.floats(min_value=0.0, max_value=0.9), max_size=50), st.integers(min_value=1, max_value=1_000))
def test_the_rate_holds_over_any_row_of_calls(pauses_s: list[float], rate_per_s: int) -> None:
    """Whatever the rhythm of the calls: as many pieces as the time that passed allows, give or take one."""
    pace = Pace(rate_per_s, now=0.0)
    now, taken = 0.0, 0
    for pause_s in pauses_s:
        now += pause_s
        taken += pace.take_due(now, at_most=10_000)
    if pauses_s:
        assert taken == pytest.approx(now * rate_per_s + 1, abs=1.01)
