"""Medians, ranges and ratios. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the range it comes from."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))

    def text(self, decimals: int) -> str:
        """`median (lowest … highest)`, or the median alone when there is no range."""
        if self.lowest == self.highest:
            return f"{self.median:,.{decimals}f}"
        return f"{self.median:,.{decimals}f} ({self.lowest:,.{decimals}f} … {self.highest:,.{decimals}f})"


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours divided by theirs, round by round: what slowed a whole round down cancels out."""
    return Spread.of([own / other for own, other in zip(ours, theirs, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that `share` (above 0, at most 1) of them do not exceed."""
    position = max(1, -int(-share * len(ordered) // 1))
    return ordered[position - 1]
