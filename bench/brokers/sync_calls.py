"""How often a broker asks the kernel to bring data to the disk, counted by strace. It slows the broker down."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.brokers.broker import NotHere

CALLS = "fsync,fdatasync,sync_file_range,msync"
ATTACH_TIMEOUT_S = 20.0
LOOK_INTERVAL_S = 0.05
NO_STRACE = "there is no strace; on Debian: apt-get install strace"
NO_RIGHT = "run as root or, in a container, with --cap-add SYS_PTRACE"


@dataclass
class SyncCalls:
    """How many there were in a window of time. Both are there when the context is left."""

    count: int = 0
    window_s: float = 0.0


def beyond_background(busy: SyncCalls, idle: SyncCalls) -> float:
    """How many calls there were more in a busy window than an idle one of the same length would have had."""
    return max(0.0, busy.count - idle.count / idle.window_s * busy.window_s)


@contextmanager
def count_sync_calls(pid: int, summary: Path) -> Iterator[SyncCalls]:
    """Of all threads of a process, while the context is open; `summary` is a file to be made. Raises NotHere."""
    found = SyncCalls()
    program = shutil.which("strace")
    if program is None:
        raise NotHere(NO_STRACE)
    said = summary.with_suffix(".err")
    with said.open("wb") as errors:
        tracing = subprocess.Popen(
            [program, "-f", "-c", "-e", f"trace={CALLS}", "-o", str(summary), "-p", str(pid)], stderr=errors
        )
    try:
        _wait_until_attached(tracing, said)
        begun_at = time.monotonic()
        yield found
        found.window_s = time.monotonic() - begun_at
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.wait(ATTACH_TIMEOUT_S)
    found.count = sum_of_calls(summary.read_text())


def _wait_until_attached(tracing: subprocess.Popen[bytes], said: Path) -> None:
    give_up_at = time.monotonic() + ATTACH_TIMEOUT_S
    while b"attached" not in said.read_bytes():
        if tracing.poll() is not None or time.monotonic() > give_up_at:
            reason = said.read_text().partition("\n")[0] or "it said nothing"
            raise NotHere(f"strace did not attach ({reason}); {NO_RIGHT}")
        time.sleep(LOOK_INTERVAL_S)


def sum_of_calls(summary: str) -> int:
    """Of the table that `strace -c` prints: time, seconds, time per call, calls, perhaps errors, name."""
    names = CALLS.replace(",", "|")
    rows = re.findall(rf"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:{names})$", summary, re.MULTILINE)
    return sum(map(int, rows))
