"""Wakes the pipeline when something changes in a watched folder. A hint: what counts is the follower's scan.

Network file systems and some container mounts report nothing; there, a change is noticed by the next scan.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asyncinotify import Inotify, Mask, Watch

_CHANGED = Mask.MODIFY
_MOVED = Mask.CREATE | Mask.DELETE | Mask.MOVE | Mask.ATTRIB
# The kernel merges equal events while nobody reads them: a pause between two reads bounds the work under load.
PAUSE_S = 0.002


class ChangeNotifier:
    """Calls `on_change(path)` for a file that was written to, and `on_move()` when a folder's content changed."""

    def __init__(self, on_change: Callable[[str], None], on_move: Callable[[], None]) -> None:
        self._on_change = on_change
        self._on_move = on_move
        self._inotify = Inotify(sync_timeout=0)
        self._watches: dict[str, Watch] = {}
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._inotify.fd, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    def watch(self, directories: set[str]) -> None:
        """Watch these folders and no others. One that cannot be watched (absent, no right) is tried again next time."""
        for directory in self._watches.keys() - directories:
            self._inotify.rm_watch(self._watches.pop(directory))
        for directory in directories - self._watches.keys():
            try:
                watch = self._inotify.add_watch(directory or ".", _CHANGED | _MOVED)
            except OSError:
                continue
            self._watches[directory] = watch

    def _read(self) -> None:
        self._loop.remove_reader(self._inotify.fd)
        self._resume = self._loop.call_later(PAUSE_S, self._loop.add_reader, self._inotify.fd, self._read)
        changed: set[str] = set()
        moved = False
        while (event := self._inotify.sync_get()) is not None:
            if event.mask & _CHANGED and event.path is not None:
                changed.add(os.fspath(event.path))
            else:
                moved = True
            if event.mask & Mask.IGNORED:
                self._watches = {name: watch for name, watch in self._watches.items() if watch is not event.watch}
        for path in changed:
            self._on_change(path)
        if moved:
            self._on_move()
