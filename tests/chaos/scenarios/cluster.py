"""Faults that need three brokers."""

from __future__ import annotations

from tests.chaos.files import Load
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

LINES_PER_S = 2_000


def leader_change(stage: Stage) -> None:
    """The leader of partition 0 is killed by SIGKILL and comes back; then the next leader is."""
    with Load(stage.log(), LINES_PER_S):
        stage.start()
        stage.until_arrived(500)
        with stage.fault():
            for _kill in range(2):
                leader = stage.kafka.leaders(stage.topics.records)[0]
                stage.kafka.nodes[leader - 1].kill()
                stage.until(lambda: _leader(stage) not in (-1, leader), "another leader of partition 0")  # noqa: B023
                stage.observe(f"partition 0 went from node {leader} to node {_leader(stage)}")
                stage.until_arrived(LINES_PER_S)
                stage.kafka.heal()
        stage.until_written(1_000)


def too_few_replicas_in_sync(stage: Stage) -> None:
    """min.insync.replicas=3 and one of three nodes dead: the brokers refuse every batch until it is back."""
    stage.kafka.configure_topic(stage.topics.records, "min.insync.replicas", "3")
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            stage.kafka.nodes[2].kill()
            stage.until_event(producer, "broker_unavailable")
            stage.until(lambda: _confirms_nothing(stage), "a second without a confirmed line")
            stage.observe("the two nodes that were left confirmed nothing")
            stage.until_written(2 * LINES_PER_S)
            stage.kafka.heal()
        stage.until_arrived(500)
        stage.until_written(1_000)


def _leader(stage: Stage) -> int:
    return stage.kafka.leaders(stage.topics.records)[0]


def _confirms_nothing(stage: Stage) -> bool:
    """Whether no line comes while a second's lines are written."""
    seen = stage.watcher.seen_count
    stage.until_written(LINES_PER_S)
    return stage.watcher.seen_count == seen


SCENARIOS = (
    Scenario("leader change among three brokers", leader_change, cluster=True),
    Scenario("min.insync.replicas not met", too_few_replicas_in_sync, cluster=True),
)
