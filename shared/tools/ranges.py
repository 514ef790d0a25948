"""Sets of byte ranges, merged where they touch. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class Ranges:
    """Half-open ranges `[start, end)` that neither touch nor overlap. Cheapest when they are added in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Add `[start, end)`; what it touches becomes one range with it. Raises ValueError for an empty range."""
        if end <= start:
            raise ValueError(f"[{start}, {end}) is empty")
        if self._ends and start == self._ends[-1]:
            self._ends[-1] = end
            return
        first = bisect_right(self._ends, start - 1)  # the first range that ends at `start` or later
        last = bisect_right(self._starts, end)  # behind the last one that begins at `end` or earlier
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def __contains__(self, position: int) -> bool:
        index = bisect_right(self._starts, position) - 1
        return index >= 0 and position < self._ends[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        """Bytes in all ranges."""
        return sum(self._ends) - sum(self._starts)
