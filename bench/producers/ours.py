"""`python -m services.producer` as it ships, checkpoint, metrics and all."""

from __future__ import annotations

from bench.contender import Figures
from bench.producers.delivery import deliver
from bench.stage import Stage


class OurProducer:
    """The service itself."""

    name = "services.producer"

    def run(self, stage: Stage, size: int) -> Figures:
        return deliver(stage, "services.producer", size)
