"""When the next piece of work is due. Pure: the caller brings the clock."""

from __future__ import annotations


class Pace:
    """A steady rate on a monotonic clock.

    What was missed is made up for at most `catch_up_s` seconds: after a long pause the work goes on at its rate instead
    of in one burst.
    """

    def __init__(self, rate_per_s: float, now: float, catch_up_s: float = 1.0) -> None:
        """`rate_per_s` is positive; `now` is in seconds of the clock that all later calls use."""
        self._interval_s = 1 / rate_per_s
        self._next_at = now
        self._catch_up_s = catch_up_s

    def take_due(self, now: float, at_most: int) -> int:
        """How many pieces are due at `now`; they count as done from here on."""
        self._next_at = max(self._next_at, now - self._catch_up_s)
        due = min(at_most, int((now - self._next_at) / self._interval_s) + 1) if now >= self._next_at else 0
        self._next_at += due * self._interval_s
        return due

    def wait_s(self, now: float) -> float:
        """Seconds from `now` until the next piece is due; 0 when it is."""
        return max(0.0, self._next_at - now)
