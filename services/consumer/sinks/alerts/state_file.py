"""The folder of SINK=alerts: one file with all that is known, and the lock that keeps a second process out."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from services.consumer.sinks.alerts.engine import Alarm, State
from shared.durable import appearing
from shared.errors import FatalError

STATE_NAME = "state.json"
LOCK_NAME = "lock"
TEMPORARY_SUFFIX = ".tmp"
# A replica that is being replaced needs a moment to let go.
LOCK_WAIT_S = 10.0
LOCK_POLL_INTERVAL_S = 0.2
VERSION = 1


@dataclass(slots=True)
class Saved:
    """The content of the file. `scope` names the group and the topic; `pending` are alarms that are not delivered."""

    version: int
    scope: str
    counting: State
    pending: list[Alarm] = field(default_factory=list)


SAVED = TypeAdapter(Saved)


class StateFolder:
    """Of one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    async def open(self) -> None:
        """Make the folder and take the lock. Raises FatalError."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FatalError(f"ALERTS_DIR={self._path} cannot be used: {error.strerror}.") from error
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while not _locked(self._lock):
            if time.monotonic() >= give_up_at:
                self.close()
                raise FatalError(
                    f"another process uses ALERTS_DIR={self._path}. SINK=alerts counts over all partitions and so is "
                    "one replica: stop the other one, or scale this service to 1."
                )
            await asyncio.sleep(LOCK_POLL_INTERVAL_S)
        for leftover in self._path.glob(f"*{TEMPORARY_SUFFIX}"):
            with suppress(OSError):
                leftover.unlink()

    def load(self, scope: str) -> Saved | None:
        """What was saved last; None in a new folder. Raises FatalError when it is not this service's, or no state."""
        path = self._path / STATE_NAME
        try:
            saved = SAVED.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FatalError(f"{path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise FatalError(
                f"{path} is no state of this service. Move it away: counting begins anew where the group has come to."
            ) from error
        if (saved.version, saved.scope) != (VERSION, scope):
            raise FatalError(
                f"{path} is the state of {saved.scope!r}, version {saved.version}, not of {scope!r}, version "
                f"{VERSION}. Give each service a folder of its own, or move the file away."
            )
        return saved

    async def save(self, saved: Saved) -> None:
        """Durably, all of it or nothing. Raises OSError."""
        await asyncio.to_thread(self._write, SAVED.dump_json(saved))

    def _write(self, content: bytes) -> None:
        temporary = self._path / f"{STATE_NAME}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        with appearing(temporary, self._path / STATE_NAME) as file:
            file.write(content)

    def close(self) -> None:
        """Let go of the lock. The file stays: were it removed, two processes could hold locks of two files."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
