"""Ends the process when its event loop cannot: it is blocked for good, or a shutdown outlives its time.

A handler that blocks the loop, or a standard output that nobody reads, would keep a service alive, silent, deaf to
SIGTERM and a member of its group. A process that ends is restarted by whoever runs it, and loses nothing that was
confirmed or committed.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading

TICK_S = 1.0
# A main loop that did not turn for so long has lost its place in the group anyway.
BLOCKED_AFTER_S = 60.0
EXIT_CODE = 1


class Watchdog:
    """Watches the running loop from a thread. Time is counted in ticks, so a stopped process is not a blocked one."""

    def __init__(self) -> None:
        self._blocked_after_s = BLOCKED_AFTER_S
        self._loop = asyncio.get_running_loop()
        self._silent_s = 0.0
        self._left_s: float | None = None
        self._turn()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def limit(self, seconds: float) -> None:
        """From now on the process has so long to end."""
        if self._left_s is None:
            self._left_s = seconds

    def _turn(self) -> None:
        self._silent_s = 0.0
        self._loop.call_later(TICK_S, self._turn)

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(TICK_S):
            self._silent_s += TICK_S
            if self._left_s is not None:
                self._left_s -= TICK_S
            if self._left_s is not None and self._left_s <= 0:
                _end("the shutdown took longer than SHUTDOWN_TIMEOUT_S")
            if self._silent_s > self._blocked_after_s:
                _end(f"the event loop was blocked for {self._blocked_after_s:g} s")


def _end(reason: str) -> None:
    """Say why and where, past every lock and buffer, and end."""
    os.write(2, f"This service ends at once: {reason}. Where its threads stand:\n".encode())
    faulthandler.dump_traceback(file=2)
    os._exit(EXIT_CODE)
