"""Both services as they ship, with a handler that notes the time."""

from __future__ import annotations

from bench.contender import Figures
from bench.latency.way import travel
from bench.stage import Stage


class OurPair:
    """`services.producer` and `services.consumer`."""

    name = "services.producer → services.consumer"

    def run(self, stage: Stage, size: int) -> Figures:
        return travel(stage, "services.producer", "services.consumer", size)
