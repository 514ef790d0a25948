"""What the pipeline works with; the composition root makes them."""

from __future__ import annotations

from dataclasses import dataclass

from services.consumer.dead_letters import DeadLetterQueue
from services.consumer.metrics import Metrics
from services.consumer.readiness import Readiness
from services.consumer.sinks.base import Sink
from shared.backoff import Backoff
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import Logger


@dataclass(frozen=True, slots=True)
class Tools:
    """One of each, for as long as the process lives."""

    sink: Sink
    dead_letters: DeadLetterQueue
    readiness: Readiness
    health: Health
    metrics: Metrics
    log: Logger
    sink_backoff: Backoff
    shutdown: Shutdown
