"""When to try again what the sink did not take, and when the sink counts as down. Pure; `now` is monotonic seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.consumer.decode import DecodedBatch
from services.consumer.progress import PartitionProgress
from shared.backoff import Backoff


@dataclass(slots=True)
class Piece:
    """A batch or a part of one, and how often the sink has failed at it."""

    batch: DecodedBatch
    polled_at: float
    failures: int = 0

    def split(self) -> tuple[Piece, Piece]:
        """Two halves that get one more attempt each."""
        middle = len(self.batch.records) // 2
        return tuple(
            Piece(self.batch.part(start, end), self.polled_at, self.failures - 1)
            for start, end in ((0, middle), (middle, len(self.batch.records)))
        )  # type: ignore[return-value]  # of two ranges


@dataclass(slots=True)
class Waiting:
    """What one partition has for the sink, in order. While there is something the partition is not polled."""

    progress: PartitionProgress
    pieces: deque[Piece] = field(default_factory=deque)
    retry_at: float = 0.0
    tried_at: float = 0.0

    def replace_first(self, pieces: Sequence[Piece]) -> None:
        self.pieces.popleft()
        self.pieces.extendleft(reversed(pieces))


class Breaker:
    """Open while the sink is down: all partitions rest, one attempt is made now and then, nothing is set aside.

    It is opened by a sink that says it is away, and by `limit` records set aside in a row without one that was taken:
    a sink that takes nothing is down, whatever it says.
    """

    def __init__(self, limit: int, backoff: Backoff) -> None:
        self._limit = limit
        self._backoff = backoff
        self._in_a_row = 0
        self._failures = 0
        self._retry_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._retry_at is not None

    @property
    def retry_at(self) -> float | None:
        """When to make the next attempt; None while closed."""
        return self._retry_at

    def is_due(self, now: float) -> bool:
        """Whether the sink may be called."""
        return self._retry_at is None or now >= self._retry_at

    def open(self, now: float) -> None:
        """The sink did not work, again or for the first time."""
        self._failures += 1
        self._retry_at = now + self._backoff.delay_s(self._failures)

    def answered(self) -> None:
        """The sink is there and fails at a batch: that is no outage, unless too much was set aside in a row."""
        if self._in_a_row < self._limit:
            self._failures = 0
            self._retry_at = None

    def close(self) -> None:
        """The sink has taken something."""
        self._in_a_row = 0
        self._failures = 0
        self._retry_at = None

    def may_set_aside(self) -> bool:
        """Whether one record more may be set aside before the sink counts as down."""
        return not self.is_open and self._in_a_row < self._limit

    def set_aside(self, count: int) -> None:
        self._in_a_row += count
