"""How often a broker asks the kernel to bring data to the disk, counted by strace."""

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

from bench.errors import BenchmarkFailed

CALLS = "fsync,fdatasync,sync_file_range,msync"
ATTACH_TIMEOUT_S = 20.0
LOOK_INTERVAL_S = 0.05


@dataclass
class SyncCalls:
    """`count` is there when the context is left; None where strace is not."""

    count: int | None = None


@contextmanager
def count_sync_calls(pid: int, folder: Path) -> Iterator[SyncCalls]:
    """Of all threads of a process, while the context is open. It slows the process down: rates mean nothing."""
    found = SyncCalls()
    program = shutil.which("strace")
    if program is None:
        yield found
        return
    summary, said = folder / "strace", folder / "strace.err"
    with said.open("wb") as errors:
        tracing = subprocess.Popen(
            [program, "-f", "-c", "-e", f"trace={CALLS}", "-o", str(summary), "-p", str(pid)], stderr=errors
        )
    try:
        _wait_until_attached(tracing, said)
        yield found
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.wait(ATTACH_TIMEOUT_S)
    found.count = sum_of_calls(summary.read_text())


def _wait_until_attached(tracing: subprocess.Popen[bytes], said: Path) -> None:
    give_up_at = time.monotonic() + ATTACH_TIMEOUT_S
    while b"attached" not in said.read_bytes():
        if tracing.poll() is not None or time.monotonic() > give_up_at:
            raise BenchmarkFailed(f"strace did not attach: {said.read_text()}")
        time.sleep(LOOK_INTERVAL_S)


def sum_of_calls(summary: str) -> int:
    """Of the table that `strace -c` prints: time, seconds, time per call, calls, perhaps errors, name."""
    names = CALLS.replace(",", "|")
    rows = re.findall(rf"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:{names})$", summary, re.MULTILINE)
    return sum(map(int, rows))
