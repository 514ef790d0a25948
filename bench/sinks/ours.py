"""`python -m services.consumer` with a handler that writes."""

from __future__ import annotations

from bench.consumers.reading import read
from bench.contender import Figures
from bench.stage import Stage


class OurConsumerToFile:
    """The service itself: it commits what the handler has written, once a second."""

    name = "services.consumer"

    def run(self, stage: Stage, size: int) -> Figures:
        return read(stage, "services.consumer", size, {"HANDLER": "bench.sinks.handler:handle"})
