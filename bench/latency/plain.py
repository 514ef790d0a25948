"""A tail written by hand (look, else sleep 10 ms) and aiokafka without linger, to aiokafka's `getmany()`."""

from __future__ import annotations

from bench.contender import Figures
from bench.latency.way import travel
from bench.stage import Stage


class PlainPair:
    """What one writes with aiokafka alone."""

    name = "hand-written tail, aiokafka linger 0 → getmany()"

    def run(self, stage: Stage, size: int) -> Figures:
        return travel(stage, "bench.latency.plain_producer", "bench.latency.plain_consumer", size)
