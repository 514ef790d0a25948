"""One lock file a partition: who writes, deletes or looks before writing holds it.

The kernel lets go of it when its process dies, however that happens. What stands in the file is a note from one holder
to the next: who was the last one, and which hour it was merging if it did not come to the end.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SinkUnavailable

POLL_INTERVAL_S = 0.02
MAX_NOTE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Note:
    """`holder` is nobody's name but one's own; `merging` the hour whose files were being replaced."""

    holder: str = ""
    merging: int | None = None


class LockFile:
    """A lock that is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> Note:
        """What the last holder left; an empty note when that cannot be told."""
        words = os.pread(self._descriptor, MAX_NOTE_BYTES, 0).decode(errors="replace").split()
        try:
            return Note(words[0], int(words[1]) if len(words) > 1 else None)
        except (IndexError, ValueError):
            return Note()

    def write(self, note: Note) -> None:
        """Durable when this returns: the hour of a merge must be known after a power cut as well."""
        words = f"{note.holder} {note.merging}\n" if note.merging is not None else f"{note.holder}\n"
        os.pwrite(self._descriptor, words.encode(), 0)
        os.ftruncate(self._descriptor, len(words))
        os.fsync(self._descriptor)


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[LockFile]:
    """Hold the lock, for as short as can be. Raises SinkUnavailable when another holds it for too long, or OSError."""
    descriptor = _acquire(path, time.monotonic() + timeout_s)
    if descriptor is None:
        raise SinkUnavailable(
            f"{path} is locked by another process for more than {timeout_s:g} s. When one was stopped in the middle of "
            f"writing, resume or kill it; `fuser {path}` names it."
        )
    try:
        yield LockFile(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, give_up_at: float) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(path, descriptor):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > give_up_at:
            return None
        time.sleep(POLL_INTERVAL_S)


def _is_still_there(path: Path, descriptor: int) -> bool:
    """Whether others see this very file under the name: an operator may have moved the folder away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
