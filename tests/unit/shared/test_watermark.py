"""The watermark never passes a gap, whatever the order of confirmations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.watermark import Watermark


@given(st.integers(0, 10**12), st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.randoms())
def test_position_is_the_end_of_the_contiguous_prefix(start: int, lengths: list[int], random: object) -> None:
    """Against a model that looks for the first range that is not done."""
    ranges = []
    end = start
    for length in lengths:
        ranges.append((end, end + length))
        end += length
    order = list(ranges)
    random.shuffle(order)  # type: ignore[attr-defined]
    watermark = Watermark(start)
    done: set[tuple[int, int]] = set()
    for each in order:
        before = watermark.position
        moved = watermark.finish(*each)
        done.add(each)
        expected = next((low for low, high in ranges if (low, high) not in done), end)
        assert watermark.position == expected
        assert moved == (expected > before)
        assert watermark.waiting == sum(1 for low, _ in done if low >= expected)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (9, 8), (3, 7), (20, 25)])
def test_counting_twice_is_refused(start: int, end: int) -> None:
    """Empty, reversed, below the position, or recorded already: a bug in the caller, never silently taken."""
    watermark = Watermark(5)
    watermark.finish(20, 25)
    with pytest.raises(ValueError, match="does not continue"):
        watermark.finish(start, end)
