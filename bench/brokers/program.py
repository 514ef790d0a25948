"""A broker's program as a child of this one."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from bench.child import KEPT_VARIABLES
from bench.errors import BenchmarkFailed
from compose.local.ports import LOOPBACK, port_is_free

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.05
BLOCK_BYTES = 512  # the unit of st_blocks
SHOWN_OUTPUT_BYTES = 2_000
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below those that the kernel gives to connections, which would take a port between its choice and its use."""

_ports = count(random.randrange(FIRST_PORT, LAST_PORT - 1_000))


class Program:
    """A command line that listens on ports of loopback when it is ready. Its output is appended to `output`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], output: Path, ports: Sequence[int]
    ) -> None:
        self._command = command
        self._environment = environment
        self._output = output
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BenchmarkFailed(f"{self._command[0]} was not started")
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when every port accepts. Raises BenchmarkFailed."""
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                list(self._command),
                env={**kept, **self._environment},
                cwd=self._output.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not all(accepts(port) for port in self._ports) or self._process.poll() is not None:
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.kill()
                raise BenchmarkFailed(f"{self._command[0]} did not start: {self._said()}")
            time.sleep(POLL_INTERVAL_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _said(self) -> str:
        return self._output.read_bytes()[-SHOWN_OUTPUT_BYTES:].decode(errors="replace")


def own_port() -> int:
    """A port of loopback that nobody listens on, and that this process was not given before."""
    return next(port for port in _ports if port_is_free(port))


def accepts(port: int) -> bool:
    """Whether somebody listens on that port of loopback."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False


def disk_bytes(folder: Path) -> int:
    """Of all files below it."""
    return files_bytes(folder.rglob("*"))


def files_bytes(paths: Iterable[Path]) -> int:
    """Blocks of the files among these: what a file only reserves does not count."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):  # brokers remove files while one looks
            status = path.lstat()
            total += status.st_blocks * BLOCK_BYTES if path.is_file() else 0
    return total
