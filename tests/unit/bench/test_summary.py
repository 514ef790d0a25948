"""What the benchmark makes of its samples."""

from __future__ import annotations

import pytest

from bench.summary import Spread, paired_ratios, percentile
from bench.workload import access_log_lines
from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, LogFormat


def test_spread_is_the_median_with_its_range() -> None:
    """One slow run moves the range, not the median."""
    assert Spread.of([3.0, 1.0, 200.0]).text(1) == "3.0 (1.0 … 200.0)"
    assert Spread.of([1234.0]).text(0) == "1,234"


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that was half as fast in the second round changes no ratio."""
    assert paired_ratios([200.0, 100.0], [100.0, 50.0]) == Spread(2.0, 2.0, 2.0)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    """The nearest rank, never something in between."""
    assert percentile([float(number) for number in range(1, 101)], share) == expected


def test_the_log_is_the_one_that_the_document_describes() -> None:
    """Every line parses; they have about 247 bytes, and half of the paths are new ones."""
    lines = list(access_log_lines(2_000))
    data = "".join(lines).encode()
    parsed = ChunkParser(LogFormat.AUTO, "web-1").parse(
        Chunk(FileIdentity("/access.log", 1, 1, "g", 0, ""), 0, len(data), data)
    )
    assert (len(parsed.values), parsed.rejects) == (2_000, [])
    assert 242 <= len(data) / len(lines) <= 252
    assert sum("/shop/items/" in line for line in lines) == 1_000
    assert lines == list(access_log_lines(2_000))
