"""How long to wait before the next attempt. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling delays with jitter. `random` returns numbers from 0 up to 1.

    Half of each delay is fixed and half is drawn, so that replicas that failed together do not return together.
    """

    first_s: float
    longest_s: float
    random: Callable[[], float]

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row, from 1."""
        # Beyond 2**32 every first delay has met its limit, and the power would only grow.
        whole_s = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))
        return whole_s * (0.5 + self.random() / 2)
