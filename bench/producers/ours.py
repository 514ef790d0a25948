"""`python -m services.producer` as it ships, checkpoint, metrics and all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.contender import Figures
from bench.producers.delivery import deliver
from bench.stage import Stage


@dataclass(frozen=True)
class OurProducer:
    """The service itself, with settings that are not the default."""

    name: str = "services.producer"
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, stage: Stage, size: int) -> Figures:
        return deliver(stage, "services.producer", size, self.settings)
