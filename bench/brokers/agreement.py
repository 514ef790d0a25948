"""Whether two runs say the same. Pure.

Two figures are apart when their ranges have no value in common; where either run has fewer than three rounds, when one
median is more than a quarter away from the other: ranges of two rounds each miss each other by chance in one case of
three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.brokers.samples import Comparison
from bench.summary import Spread

A_QUARTER = 0.25
ROUNDS_OF_A_RANGE = 3
NOT_COMPARED = ("foreign_cores", "published", "taken", "redelivered")
"""Of the surroundings, what was sent, and what a worker happened to take before it left: these need not agree."""

Cell = tuple[str, str, str, str]
"""Question, variant, candidate and figure."""


@dataclass(frozen=True, slots=True)
class Apart:
    """A figure on which the runs do not agree."""

    cell: Cell
    now: Spread
    before: Spread


def common_cells(now: Comparison, before: Comparison) -> list[Cell]:
    """What both have measured, in the order of the first."""
    known = set(_cells(before))
    return [cell for cell in _cells(now) if cell in known]


def _cells(comparison: Comparison) -> list[Cell]:
    found = (
        (sample.question, sample.variant, sample.candidate, figure)
        for sample in comparison.samples
        for figure in sample.figures
        if figure not in NOT_COMPARED
    )
    return list(dict.fromkeys(found))


def apart(now: Comparison, before: Comparison) -> Sequence[Apart]:
    """Where the runs do not agree."""
    found = []
    for cell in common_cells(now, before):
        one, other = now.spread(*cell), before.spread(*cell)
        assert one is not None
        assert other is not None
        rounds = min(len(now.values(*cell)), len(before.values(*cell)))
        few = rounds < ROUNDS_OF_A_RANGE
        if _more_than_a_quarter(one.median, other.median) if few else _differ(one, other):
            found.append(Apart(cell, one, other))
    return found


def _differ(one: Spread, other: Spread) -> bool:
    return one.lowest > other.highest or other.lowest > one.highest


def _more_than_a_quarter(one: float, other: float) -> bool:
    return abs(one - other) > A_QUARTER * max(one, other)


def run_before(now: Comparison, published: Comparison | None, before: Comparison | None) -> Comparison | None:
    """Which run stands beside one that is to be published: the full one that was published last.

    The same run, published again because the text has changed, keeps the one that stands beside it.
    """
    if published is None or published.quick:
        return None
    return before if published.seed == now.seed else published
