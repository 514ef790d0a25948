"""Whether this replica does its work, and what keeps it from that: one log line per change."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from shared.runtime.http import Health
from shared.runtime.logging import Logger


class Obstacle(StrEnum):
    """What a consumer can lack; also the `kind` of the metric of errors."""

    BROKER = "broker"
    GROUP = "group"
    SINK = "sink"
    DEAD_LETTERS = "dead_letters"


class Readiness:
    """The obstacles that stand. Ready when there is none. `on_obstacle` is told of each new one."""

    def __init__(
        self, health: Health, log: Logger, now: Callable[[], float], on_obstacle: Callable[[Obstacle], None]
    ) -> None:
        self._health = health
        self._log = log
        self._now = now
        self._on_obstacle = on_obstacle
        self._standing: dict[Obstacle, tuple[float, str]] = {}

    def block(self, obstacle: Obstacle, because: str) -> None:
        """Not ready from now on. Joining the group is part of a normal start and no warning."""
        if obstacle not in self._standing:
            if obstacle is not Obstacle.GROUP:
                self._on_obstacle(obstacle)
                self._log.warning(f"{obstacle}_unavailable", error=because)
            self._standing[obstacle] = (self._now(), because)
        self._tell()

    def clear(self, obstacle: Obstacle) -> None:
        """That works again, or for the first time."""
        since_and_why = self._standing.pop(obstacle, None)
        if since_and_why and obstacle is not Obstacle.GROUP:
            self._log.info(f"{obstacle}_available", after_s=round(self._now() - since_and_why[0], 1))
        self._tell()

    def forget(self, obstacle: Obstacle) -> None:
        """Whether that works is not known any more, and nothing here needs it."""
        self._standing.pop(obstacle, None)
        self._tell()

    def _tell(self) -> None:
        reasons = [f"{obstacle}: {why}" for obstacle, (_since, why) in self._standing.items()]
        self._health.not_ready_because = "; ".join(reasons) or None
