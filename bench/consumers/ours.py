"""`python -m services.consumer` as it ships, with a handler that counts."""

from __future__ import annotations

from bench.consumers.reading import read
from bench.contender import Figures
from bench.stage import Stage


class OurConsumer:
    """The service itself."""

    name = "services.consumer"

    def run(self, stage: Stage, size: int) -> Figures:
        return read(stage, "services.consumer", size, {"HANDLER": "bench.consumers.counting:handle"})
