"""A web server as far as its log shows it: a line each millisecond, with the moment at which it was due."""

from __future__ import annotations

import os
import time
from pathlib import Path

LINES_PER_S = 1_000
WARM_UP_LINES = 2_000
NS_PER_S = 1_000_000_000


def write_lines(log: Path, count: int) -> None:
    """First the lines that warm up, then `count` that carry their time. A line that is late still says when it was due.

    Each line is a write of its own.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    started_at_ns = time.monotonic_ns()
    try:
        for number in range(WARM_UP_LINES + count):
            due_ns = started_at_ns + number * NS_PER_S // LINES_PER_S
            early_ns = due_ns - time.monotonic_ns()
            if early_ns > 0:
                time.sleep(early_ns / NS_PER_S)
            os.write(descriptor, _line(number, due_ns if number >= WARM_UP_LINES else 0))
    finally:
        os.close(descriptor)


def _line(number: int, due_ns: int) -> bytes:
    return (
        b"192.0.2.%d - - [17/May/2025:10:05:03 +0000] "
        b'"GET /timed?%d HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Firefox/142.0"\n'
        % (number % 251, due_ns)
    )
