"""Plays a scenario of the consumer: stage, fault, drain, audit, verdict."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from tests.chaos.consumers.audit import SinkRules
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.consumers.sinks import SINKS
from tests.chaos.consumers.stage import ConsumerStage, place_of
from tests.chaos.kafka import Kafka, Topics
from tests.chaos.scenario import Outcome
from tests.chaos.scene import NotRun, Plan
from tests.chaos.weighing import count_around, ending_in, fault_of

# What the eager protocol of the group may cost: all replicas stop until the last one has joined again.
LONGEST_PAUSE_S = 5.0


def play_consumer(scenario: ConsumerScenario, kafka: Kafka, folder: Path, plan: Plan) -> Outcome:
    """Run it and say what came of it. Never raises for what the consumer does."""
    run = uuid.uuid4().hex[:8]
    topics = Topics.of(run)
    outcome = Outcome(scenario.name)
    began_s = time.monotonic()
    kafka.make_topics(topics)
    own_folder = folder / f"{scenario.name}-{run}"
    try:
        sink = SINKS[scenario.sink](place_of(own_folder, run, kafka))
    except NotRun as reason:
        outcome.not_run = str(reason)
        return outcome
    stage = ConsumerStage(own_folder, run, kafka, topics, sink, plan, began_s + scenario.limit_s)
    try:
        with stage.watcher:
            with ending_in(outcome, stage):
                _act(scenario, stage)
            kafka.heal()
        if outcome.not_run is None and not outcome.vacuous:
            _judge(scenario, stage, outcome)
    finally:
        stage.leave()
        kafka.heal()
    kafka.remove_topics(topics)
    outcome.evidence = stage.evidence
    outcome.paused_s = stage.paused_s
    outcome.took_s = time.monotonic() - began_s
    return outcome


def _act(scenario: ConsumerScenario, stage: ConsumerStage) -> None:
    """The fault, and until everything is committed and every replica has ended on SIGTERM."""
    with stage.publisher:
        scenario.play(stage)
        # What the scenario saw committed may have been a backlog: something has to come behind the fault.
        stage.until_published(2 * scenario.after)
    stage.until_drained()
    stage.stop(*stage.running())


def _judge(scenario: ConsumerScenario, stage: ConsumerStage, outcome: Outcome) -> None:
    began_s = time.monotonic()
    rules = SinkRules(stage.sink.exactly_once, scenario.violent, stage.lost)
    outcome.audit = found = stage.sink.audit(stage.publisher.places, rules, stage.deaths)
    outcome.audit_s = time.monotonic() - began_s
    if stage.watcher.steps_back:
        outcome.failures.append(f"committed offsets went back: {'; '.join(stage.watcher.steps_back[:5])}")
    if stage.paused_s and max(stage.paused_s) > LONGEST_PAUSE_S:
        outcome.failures.append(_describe_pauses(*stage.paused_s))
    if fault := fault_of(stage, outcome):
        published = stage.publisher.confirmed_at_s.items()
        count_around(fault, [at_s for number, at_s in published if found.present[number]], scenario, outcome)
        _time_the_recovery(stage, outcome, fault[1])


def _describe_pauses(stayed_s: float, moved_s: float) -> str:
    """With the load: a machine that has too much to do stands still by itself."""
    load, cores = os.getloadavg()[0], os.cpu_count()
    return (
        f"partitions stood still for up to {stayed_s:.1f} s where they stayed and {moved_s:.1f} s where they moved, "
        f"more than {LONGEST_PAUSE_S:g} s; the machine's load was {load:.0f} on {cores} cores"
    )


def _time_the_recovery(stage: ConsumerStage, outcome: Outcome, ended_s: float) -> None:
    """By the group's offsets: the first that moved after the fault, and when all published until its end were done."""
    owed: dict[int, int] = {}
    for number, at_s in stage.publisher.confirmed_at_s.items():
        if at_s <= ended_s:
            partition, offset = stage.publisher.places[number]
            owed[partition] = max(owed.get(partition, 0), offset + 1)
    moves = stage.watcher.moves
    first = min((at_s for steps in moves.values() for at_s, _offset in steps if at_s > ended_s), default=None)
    outcome.first_s = None if first is None else first - ended_s
    reached = [
        next((at_s for at_s, offset in moves[partition] if offset >= end), None) for partition, end in owed.items()
    ]
    times = [at_s for at_s in reached if at_s is not None]
    outcome.drained_s = max(0.0, max(times) - ended_s) if times and len(times) == len(reached) else None
