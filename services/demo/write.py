"""Appends the demo's traffic to a file as nginx would log it, for machines without an nginx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path

from services.demo.lines import Form, render_line
from services.demo.pace import Pace
from services.demo.traffic import OddVisit, Visit
from shared.errors import FatalError
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown

MAX_LINES_PER_WRITE = 10_000


class Writer:
    """Appends whole lines at a steady rate and rotates the file by rename once it has reached its limit."""

    def __init__(self, path: Path, limit_bytes: int, traffic: Iterator[Visit | OddVisit], health: Health) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._traffic = traffic
        self._forms = cycle(Form)
        self._health = health
        self.lines_written = 0

    async def run(self, rate_per_s: float, shutdown: Shutdown, clock: Callable[[], float] = time.monotonic) -> None:
        """Write until a shutdown is requested. Raises FatalError when the file cannot be written."""
        pace = Pace(rate_per_s, clock())
        while not shutdown.requested:
            due = pace.take_due(clock(), at_most=MAX_LINES_PER_WRITE)
            if due:
                await asyncio.to_thread(self.append, due, datetime.now().astimezone())
            self._health.not_ready_because = None
            self._health.progressed()
            await shutdown.wait_at_most(pace.wait_s(clock()))

    def append(self, count: int, now: datetime) -> None:
        """Append `count` lines of the time `now` in one write. Raises FatalError when that fails."""
        visits = islice(self._traffic, count)
        lines = b"".join(render_line(visit, now, form) for visit, form in zip(visits, self._forms, strict=False))
        try:
            # Opened each time: someone else may have rotated the file meanwhile.
            with self._path.open("ab") as log:
                log.write(lines)
                size_bytes = log.tell()
            if size_bytes >= self._limit_bytes:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
        except OSError as error:
            raise FatalError(f"cannot write --file {self._path}: {error.strerror}.") from error
        self.lines_written += count
