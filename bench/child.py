"""Contenders as processes of their own, and what they use of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.errors import BenchmarkFailed
from compose.local.processes import ALLOCATOR

ROOT = Path(__file__).parents[1]
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL")
EXIT_TIMEOUT_S = 30.0
HTTP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.01
SHOWN_OUTPUT_BYTES = 2_000


class Child:
    """One running `python -m MODULE`, with the allocator's settings that local mode and the image have."""

    def __init__(self, module: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.module = module
        self._process = process
        self._output = output

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    @contextmanager
    def start(cls, module: str, settings: Mapping[str, str], folder: Path) -> Iterator[Child]:
        """The process, ended when the context is left. What it says goes to a file in `folder`."""
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        output = folder / f"{module}.err"
        with output.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**kept, **ALLOCATOR, **settings},
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            yield cls(module, process, output)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(EXIT_TIMEOUT_S)

    def terminate(self) -> None:
        """SIGTERM, and wait. Raises BenchmarkFailed unless it ends in order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            exit_code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkFailed(f"{self.module} did not end within {EXIT_TIMEOUT_S:g} s") from error
        if exit_code != 0:
            raise BenchmarkFailed(f"{self.module} ended with {exit_code}: {self._said()}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(EXIT_TIMEOUT_S)

    def wait(self) -> None:
        """Until it has ended by itself. Raises BenchmarkFailed when that was not in order."""
        exit_code = self._process.wait(EXIT_TIMEOUT_S)
        if exit_code != 0:
            raise BenchmarkFailed(f"{self.module} ended with {exit_code}: {self._said()}")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Return when the condition holds. Raises BenchmarkFailed when the process ends first or the time is over."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            self.require_running()
            if time.monotonic() > give_up_at:
                raise BenchmarkFailed(f"{self.module}: waited {timeout_s:g} s in vain for {what}. {self._said()}")
            time.sleep(POLL_INTERVAL_S)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def require_running(self) -> None:
        """Raises BenchmarkFailed, with what it said, when it has ended too early."""
        if self.has_ended:
            raise BenchmarkFailed(f"{self.module} ended with {self._process.returncode}: {self._said()}")

    def wait_until_ready(self, http_port: int, timeout_s: float) -> None:
        """Until /readyz says so."""
        self.wait_until(lambda: is_ready(http_port), "it was ready", timeout_s)

    def _said(self) -> str:
        return self._output.read_bytes()[-SHOWN_OUTPUT_BYTES:].decode(errors="replace")


def is_ready(http_port: int) -> bool:
    """Whether a service of ours on this port of the machine is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/readyz", timeout=HTTP_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def memory_bytes(field: str, pid: int | str = "self") -> int:
    """A field of /proc/PID/status in bytes: `VmHWM` is the most that was resident so far, `VmRSS` what is now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkFailed(f"process {pid} has no {field}: it has ended")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Meter:
    """What processes and the rest of the machine used from its making to `stop`."""

    def __init__(self, broker_pid: int, *pids: int) -> None:
        self._broker_pid = broker_pid
        self._pids = pids
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, float, float]:
        machine = psutil.cpu_times()
        busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
        return (
            time.monotonic(),
            sum(cpu_s(pid) for pid in self._pids),
            cpu_s(self._broker_pid),
            time.process_time(),
            busy_s,
        )

    def stop(self) -> dict[str, float]:
        """`elapsed_s`, `cpu_s` of the processes, `broker_cpu_s`, and `foreign_cores`: what other programs kept busy."""
        elapsed_s, cpu, broker_cpu, own_cpu, busy = (
            after - before for before, after in zip(self._before, self._now(), strict=True)
        )
        foreign_s = max(0.0, busy - cpu - broker_cpu - own_cpu)
        return {
            "elapsed_s": elapsed_s,
            "cpu_s": cpu,
            "broker_cpu_s": broker_cpu,
            "foreign_cores": foreign_s / elapsed_s,
        }
