"""What a scenario of the consumer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.consumers.stage import ConsumerStage
from tests.chaos.scenario import LEAST_LINES


@dataclass(frozen=True)
class ConsumerScenario:
    """`fault` is an entry of the table of faults, `sink` one of the table of sinks.

    `before`, `during` and `after` say how many records have to be in the sink that were published then. A fault that is
    not `violent` (nothing is killed, cut or frozen) explains no duplicate at any sink.
    """

    fault: str
    play: Callable[[ConsumerStage], None]
    sink: str
    violent: bool = True
    before: int = LEAST_LINES
    during: int = LEAST_LINES
    after: int = LEAST_LINES
    limit_s: float = 240.0

    @property
    def name(self) -> str:
        """That of the function that plays it, and the sink."""
        return f"{self.play.__name__}_{self.sink}"
