"""What the producer tells of its files: the answer of /status, the events of stuck files, the gauges beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from services.producer.deliver.outbox import Outbox
from services.producer.deliver.progress import Progress
from services.producer.follow import Follower
from services.producer.follow.open_file import NOTHING_TO_READ, WAITS_FOR_NEWLINE, OpenFile
from services.producer.ledger import Account, Ledger, Tally
from services.producer.metrics import ProducerMetrics
from services.producer.stuck import FileState, Stuck, StuckFiles, WayState
from shared.errors import InvalidRequest
from shared.runtime.http import Health
from shared.runtime.logging import get_logger

LOOK_INTERVAL_S = 1.0
DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000

Json = dict[str, object]


class Connection(Protocol):
    """Who knows when the session with Kafka began."""

    @property
    def session_began_at(self) -> float | None:
        """Seconds since 1970; None while there is no session."""


@dataclass(frozen=True)
class Watched:
    """The parts of a running producer that are looked at."""

    follower: Follower
    outbox: Outbox
    progress: Progress
    ledger: Ledger
    connection: Connection


class Status:
    """`watch` a producer, then `look` each LOOK_INTERVAL_S; `describe` answers /status at any time."""

    def __init__(
        self,
        delivery: str,
        health: Health,
        metrics: ProducerMetrics,
        now: Callable[[], float],
        wall_clock_s: Callable[[], float],
    ) -> None:
        self._delivery = delivery
        self._health = health
        self._metrics = metrics
        self._now = now
        self._wall_clock_s = wall_clock_s
        self._watched: Watched | None = None
        self._stuck = StuckFiles()

    @property
    def stuck_count(self) -> int:
        """Files that were stuck at the last look."""
        return len(self._stuck.stuck)

    def watch(self, watched: Watched) -> None:
        """From now on these are looked at."""
        self._watched = watched
        self._metrics.show_in_flight(watched.ledger.totals)

    def look(self) -> None:
        """See what moves; tell what does not, and what does again."""
        if self._watched is None:
            return
        now = self._now()
        generations = {file.identity.generation for file in self._watched.follower.files if file.identity is not None}
        self._watched.ledger.keep(generations)
        way = WayState(self._health.not_ready_because, not self._watched.outbox.has_room)
        self._stuck.look(_states(self._watched), way, now)
        self._metrics.stuck_files.set(len(self._stuck.stuck))
        self._metrics.stuck_seconds.set(self._stuck.oldest_age_s(now))
        self._tell(now)

    def _tell(self, now: float) -> None:
        news, moving = self._stuck.take_changes()
        for stuck in news:
            get_logger().warning(
                "file_stuck", path=stuck.file.path, generation=stuck.file.generation, **self._describe_stuck(stuck, now)
            )
        for stuck in moving:
            after_s = round(now - stuck.since, 1)
            get_logger().info("file_moving", path=stuck.file.path, generation=stuck.file.generation, after_s=after_s)

    def _describe_stuck(self, stuck: Stuck, now: float) -> Json:
        for_s = now - stuck.since
        return {
            "at_byte": stuck.at,
            "since": _iso(self._wall_clock_s() - for_s),
            "for_s": round(for_s, 1),
            "cause": stuck.cause.value,
            "because": stuck.because,
        }

    def describe(self, query: Mapping[str, str]) -> Json:
        """The document of /status; `limit` files at most. Raises InvalidRequest."""
        limit = _limit(query.get("limit", str(DEFAULT_LIMIT)))
        document: Json = {"delivery": self._delivery, "session": self._describe_session()}
        if self._watched is None:
            return {**document, "totals": None, "files": [], "files_left_out": 0, "others": None}
        ledger = self._watched.ledger
        now = self._now()
        states = {state.key: state for state in _states(self._watched)}
        keys = self._keys(self._watched, states)
        return {
            **document,
            "totals": _describe_account(ledger.totals),
            "files": [self._entry(self._watched, key, states.get(key), now) for key in keys[:limit]],
            "files_left_out": max(0, len(keys) - limit),
            "others": {"files": ledger.other_count, **_describe_account(ledger.others)},
        }

    def _describe_session(self) -> Json:
        began_at = self._watched.connection.session_began_at if self._watched else None
        return {
            "connected": self._health.ready,
            "since": None if began_at is None else _iso(began_at),
            "because": self._health.not_ready_because,
        }

    def _keys(self, watched: Watched, states: Mapping[str, FileState]) -> list[str]:
        """Stuck files first, the longest of them at the top; then those that were read last."""
        stuck = [key for key in self._stuck.stuck if key in states]
        read = [file.generation for file in watched.ledger.files]
        return list(dict.fromkeys((*stuck, *read, *states)))

    def _entry(self, watched: Watched, key: str, state: FileState | None, now: float) -> Json:
        file, stuck = watched.ledger.find(key), self._stuck.stuck.get(key)
        if state is None:
            assert file is not None, "what is not open is in the ledger"
            state = FileState(file.path, file.generation, file.end, file.end, file.end, 0)
        return {
            "path": state.path,
            "generation": state.generation,
            "size": state.size,
            "began_at": file.began_at if file else state.position,
            "position": state.position,
            "confirmed_position": state.settled,
            **_describe_account(file.account if file else Account()),
            "stuck": self._describe_stuck(stuck, now) if stuck else None,
        }


def _states(watched: Watched) -> Iterator[FileState]:
    """Every file that is open, cannot be opened, or is closed and has lines in flight."""
    seen: set[str] = set()
    for file in watched.follower.files:
        state = _state(watched, file)
        seen.add(state.key)
        yield state
    for path, reason in watched.follower.unreadable.items():
        if path not in seen:
            yield FileState(path, None, 0, 0, 0, 0, unreadable=reason)
    for account in watched.ledger.files:
        if account.account.bytes.in_flight and account.generation not in seen:
            settled = watched.progress.position_of(account.generation)
            in_flight = account.account.bytes.in_flight
            yield FileState(
                account.path,
                account.generation,
                account.end,
                account.end,
                account.end if settled is None else settled,
                in_flight,
            )


def _state(watched: Watched, file: OpenFile) -> FileState:
    generation = file.identity.generation if file.identity else None
    account = watched.ledger.find(generation) if generation else None
    settled = watched.progress.position_of(generation) if generation else None
    in_flight = account.account.bytes.in_flight if account else 0
    size = file.size
    return FileState(
        file.path,
        generation,
        size,
        file.position,
        file.position if settled is None or not in_flight else settled,
        in_flight,
        unreadable=file.blocked_reason if _failed(file) else watched.follower.unreadable.get(file.path),
        lacks_newline=file.blocked_reason == WAITS_FOR_NEWLINE,
        is_searched=file.has_unsearched_bytes,
    )


def _failed(file: OpenFile) -> bool:
    """Whether the last read of it gave an error."""
    return file.blocked_reason not in (None, WAITS_FOR_NEWLINE, NOTHING_TO_READ)


def _describe_account(account: Account) -> Json:
    # How many lines were abandoned is not known, so it is not told.
    in_bytes = {**_describe_tally(account.bytes), "abandoned": account.bytes.abandoned}
    return {"bytes": in_bytes, "lines": _describe_tally(account.lines)}


def _describe_tally(tally: Tally) -> dict[str, int]:
    return {
        "read": tally.read,
        "confirmed": tally.confirmed,
        "dead_lettered": tally.dead_lettered,
        "skipped": tally.skipped,
        "skipped_blank": tally.blank,
        "skipped_already_delivered": tally.already_delivered,
        "in_flight": tally.in_flight,
    }


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= MAX_LIMIT:
        return int(text)
    raise InvalidRequest(f"limit={text} is not a number of files from 0 to {MAX_LIMIT}")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
