"""How far a long work is, on stderr: one line that is written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

TERMINAL_INTERVAL_S = 0.2
PLAIN_INTERVAL_S = 2.0


class Progress:
    """`add` what was done, of `total`; a line says percent, rate and what is left. `now` is in seconds."""

    def __init__(
        self, what: str, total: int, unit: str, now: Callable[[], float], stream: TextIO | None = None
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._now = now
        self._stream = stream or sys.stderr
        self._interval_s = TERMINAL_INTERVAL_S if self._stream.isatty() else PLAIN_INTERVAL_S
        self._started_at = self._told_at = now()
        self._told = False
        self.done = 0

    def add(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        now = self._now()
        if now - self._told_at >= self._interval_s:
            self._told_at = now
            self._tell(self.line(now))

    def line(self, now: float) -> str:
        """The progress in words."""
        passed_s = max(now - self._started_at, 1e-3)
        rate = self.done / passed_s
        share = 100 * self.done / self._total if self._total else 100
        left = f", {(self._total - self.done) / rate:.0f} s left" if rate and self._total > self.done else ""
        return f"{self._what}: {share:.0f} %, {self.done:,} of {self._total:,} {self._unit}, {rate:,.0f}/s{left}"

    def _tell(self, line: str) -> None:
        self._told = True
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[2K{line}")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """The last line, if there was any before: short works say nothing."""
        if self._told:
            self._tell(self.line(self._now()))
            if self._stream.isatty():
                self._stream.write("\n")
