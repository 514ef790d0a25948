"""Contiguous progress over confirmations that arrive in any order.

The producer keeps one per file (positions are byte offsets), the consumer one per partition (positions are record
offsets). What is below `position` is done, without a gap; only that may be remembered across a restart.
"""

from __future__ import annotations


class Watermark:
    """The end of the done prefix of a sequence of adjoining ranges.

    Ranges are half open, `[start, end)`; each range starts where an earlier one ends, or at the initial position.
    """

    __slots__ = ("_finished", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self._finished: dict[int, int] = {}

    def finish(self, start: int, end: int) -> bool:
        """Record that `[start, end)` is done; return whether the position moved.

        Raises ValueError for a range that is empty, reversed, below the position or already recorded: each of these
        means that the caller counts twice.
        """
        if end <= start or start < self.position or start in self._finished:
            raise ValueError(f"range [{start}, {end}) does not continue position {self.position}")
        self._finished[start] = end
        before = self.position
        while (reached := self._finished.pop(self.position, None)) is not None:
            self.position = reached
        return self.position > before

    @property
    def waiting(self) -> int:
        """Ranges that are done but lie behind a gap."""
        return len(self._finished)
