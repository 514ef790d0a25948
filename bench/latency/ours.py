"""Both services as they ship, with a handler that notes the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.contender import Figures
from bench.latency.way import travel
from bench.stage import Stage


@dataclass(frozen=True)
class OurPair:
    """`services.producer`, with settings that are not the default, and `services.consumer`."""

    name: str = "services.producer → services.consumer"
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, stage: Stage, size: int) -> Figures:
        return travel(stage, "services.producer", "services.consumer", size, self.settings)
