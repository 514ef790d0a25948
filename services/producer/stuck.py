"""Which files do not move, since when, and because of what. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# Bytes that wait for so long are stuck: longer than a look at the disk and a confirmation take under load.
STUCK_AFTER_S = 10.0
# So many files at a time are told one by one in the log; a broker that is away holds all of them.
MAX_TOLD_FILES = 20


class Cause(StrEnum):
    """What keeps a file from moving."""

    BROKER = "broker"
    UNREADABLE = "unreadable"
    UNFINISHED_LINE = "unfinished_line"
    OUTBOX_FULL = "outbox_full"
    SEARCH = "search"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class FileState:
    """A file at one moment. `settled` is its first byte whose fate is not known yet."""

    path: str
    generation: str | None  # None before its first line is whole
    size: int
    position: int  # the next byte to read
    settled: int
    in_flight_bytes: int
    unreadable: str | None = None  # why it cannot be read
    lacks_newline: bool = False  # all of it was looked at, and it does not end with a newline
    is_searched: bool = False  # the end of a long line, or a place in a compressed file, is being looked for

    @property
    def key(self) -> str:
        """Names it from one look to the next."""
        return self.generation or self.path

    @property
    def waits(self) -> bool:
        """Whether any bytes are to be read or confirmed."""
        return self.unreadable is not None or self.in_flight_bytes > 0 or self.size > self.position


@dataclass(frozen=True, slots=True)
class WayState:
    """What all files have before them: the reason why no lines flow, and whether more may be read now."""

    not_ready_because: str | None
    outbox_full: bool


@dataclass(frozen=True, slots=True)
class Stuck:
    """A file has not moved from byte `at` since `since` (the clock of `look`)."""

    file: FileState
    at: int
    since: float
    cause: Cause
    because: str


def cause_of(file: FileState, way: WayState) -> tuple[Cause, str]:
    """What a file that waits is waiting for, and in words."""
    unreachable = way.not_ready_because
    found = (
        (file.in_flight_bytes > 0, Cause.BROKER, unreachable or "sent, and not confirmed yet"),
        (file.unreadable is not None, Cause.UNREADABLE, file.unreadable or ""),
        (file.lacks_newline, Cause.UNFINISHED_LINE, "its last line has no newline yet"),
        (unreachable is not None, Cause.BROKER, unreachable or ""),
        (way.outbox_full, Cause.OUTBOX_FULL, "no more is read until the broker confirms what was sent"),
        (file.is_searched, Cause.SEARCH, "a long line or a compressed file is searched"),
        (True, Cause.TURN, "other files are read first"),
    )
    return next((cause, because) for holds, cause, because in found if holds)


class StuckFiles:
    """Told of all files once in a while. Memory: what was told last."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, float]] = {}  # what a file waits at, and since when
        self._told: dict[str, Stuck] = {}
        self.stuck: dict[str, Stuck] = {}

    def look(self, files: Iterable[FileState], way: WayState, now: float) -> None:
        """The files as they are now."""
        waiting: dict[str, tuple[int, float]] = {}
        stuck: list[Stuck] = []
        for file in files:
            if not file.waits:
                continue
            at, since = self._waiting.get(file.key, (file.settled, now))
            waiting[file.key] = at, since = (at, since) if at == file.settled else (file.settled, now)
            if now - since >= STUCK_AFTER_S:
                stuck.append(Stuck(file, at, since, *cause_of(file, way)))
        self._waiting = waiting
        self.stuck = {each.file.key: each for each in sorted(stuck, key=lambda each: each.since)}

    def take_changes(self) -> tuple[list[Stuck], list[Stuck]]:
        """What to tell since the last call: files that are stuck or have another cause, and files that move again.

        Of all that are stuck, MAX_TOLD_FILES are told.
        """
        moving = [told for key, told in self._told.items() if key not in self.stuck]
        self._told = {key: told for key, told in self._told.items() if key in self.stuck}
        news = []
        for key, stuck in self.stuck.items():
            told = self._told.get(key)
            if told.cause is stuck.cause if told else len(self._told) >= MAX_TOLD_FILES:
                continue
            self._told[key] = stuck
            news.append(stuck)
        return news, moving

    def oldest_age_s(self, now: float) -> float:
        """For how long the longest-stuck file is; 0 without one."""
        return max((now - each.since for each in self.stuck.values()), default=0.0)
