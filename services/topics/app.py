"""Make each topic and each rule of access, with back-off while the broker is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from services.topics.access import rules
from services.topics.settings import TopicsSettings
from shared.errors import FatalError, RetryableError
from shared.kafka.access import ensure_rules
from shared.kafka.topics import TopicSpec, ensure_topic
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import get_logger

Outcome = TypeVar("Outcome")

# One hour of attempts: a one-shot must end, and what starts it may start it again.
MAX_ATTEMPTS = 3_600
RETRY_INTERVAL_S = 1.0
# A producer reads the whole topic at its start, so little is left uncompacted: segments of 4 MiB or ten minutes.
STATE = {
    "cleanup.policy": "compact",
    "segment.bytes": "4194304",
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "600000",
}


def topic_specs(settings: TopicsSettings) -> tuple[TopicSpec, ...]:
    """The topics of the pipeline: records, dead letters, what SINK=kafka sends, the producers' positions."""
    common = {
        "compression.type": "producer",
        "min.insync.replicas": str(settings.kafka_topic_min_insync_replicas),
    }
    state = TopicSpec(settings.kafka_state_topic, 1, settings.kafka_topic_replication_factor, {**common, **STATE})
    retention_ms = {
        settings.kafka_topic: settings.kafka_topic_retention_ms,
        settings.kafka_dead_letter_topic: settings.kafka_dead_letter_retention_ms,
    }
    if settings.kafka_sink_topic is not None:
        retention_ms[settings.kafka_sink_topic] = settings.kafka_topic_retention_ms
    lines = tuple(
        TopicSpec(
            name,
            settings.kafka_topic_partitions,
            settings.kafka_topic_replication_factor,
            {**common, "cleanup.policy": "delete", "retention.ms": str(kept_ms)},
        )
        for name, kept_ms in retention_ms.items()
    )
    return (*lines, state)


async def serve(settings: TopicsSettings, shutdown: Shutdown) -> None:
    """Raises FatalError when the broker refuses a topic or a rule, or stays away."""
    for spec in topic_specs(settings):
        outcome = await _insist(settings, partial(ensure_topic, settings, spec), shutdown)
        if outcome is None:
            return
        get_logger().info(
            "topic_ready", topic=spec.name, created=outcome.created, partitions_added=outcome.partitions_added
        )
        for name, wanted, found in outcome.drift:
            get_logger().warning("topic_setting_differs", topic=spec.name, setting=name, wanted=wanted, found=found)
    if wanted_rules := rules(settings):
        made = await _insist(settings, partial(ensure_rules, settings, wanted_rules), shutdown)
        if made is None:
            return
        get_logger().info("rules_ready", rules=len(wanted_rules), made=made.made)
        for rule in made.surplus:
            get_logger().warning("rule_not_wanted", rule=rule)


async def _insist(
    settings: TopicsSettings, attempt_it: Callable[[], Awaitable[Outcome]], shutdown: Shutdown
) -> Outcome | None:
    """The outcome, or None when a shutdown was requested first."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            return await attempt_it()
        except RetryableError as error:
            if attempt == 0:
                get_logger().warning("broker_unavailable", error=str(error))
        if await shutdown.wait_at_most(RETRY_INTERVAL_S):
            return None
    raise FatalError(f"gave up on the broker at {settings.kafka_bootstrap_servers} after {MAX_ATTEMPTS} attempts")
