"""Not a mutation: the producer as it is, under a wall clock that a test moves."""

from __future__ import annotations

import os
import time
from pathlib import Path


def clock_from_a_file() -> None:
    """Shift the process's wall clock by as many seconds as the file CHAOS_CLOCK_FILE says at that moment."""
    file = Path(os.environ["CHAOS_CLOCK_FILE"])
    true_time, true_time_ns = time.time, time.time_ns

    def offset_s() -> int:
        return int(file.read_text() or 0)

    time.time = lambda: true_time() + offset_s()
    time.time_ns = lambda: true_time_ns() + offset_s() * 1_000_000_000
