"""Plays a scenario of the consumer: stage, fault, drain, audit, verdict."""

from __future__ import annotations

import os
import time
import uuid
from itertools import pairwise
from pathlib import Path

from confluent_kafka import KafkaException

from compose.errors import OperatorError
from tests.chaos.auditor import Audit
from tests.chaos.consumers.audit import SinkRules
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.consumers.sinks import SINKS
from tests.chaos.consumers.stage import ConsumerStage, place_of
from tests.chaos.kafka import Kafka, Topics
from tests.chaos.scenario import Outcome
from tests.chaos.scene import Failed, NotRun, Plan, Vacuous

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
            _act(scenario, stage, outcome)
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


def _act(scenario: ConsumerScenario, stage: ConsumerStage, outcome: Outcome) -> None:
    """The fault, and until everything is committed and every replica has ended on SIGTERM."""
    try:
        with stage.publisher:
            scenario.play(stage)
            # What the scenario saw committed may have been a backlog: something has to come behind the fault.
            stage.until_published(2 * scenario.after)
        stage.until_drained()
        stage.stop(*stage.running())
    except NotRun as reason:
        outcome.not_run = str(reason)
    except Vacuous as reason:
        outcome.vacuous.append(stage.without_place(str(reason)))
    except (Failed, AssertionError) as reason:
        outcome.failures.append(stage.without_place(str(reason)))
    except (OSError, KafkaException, OperatorError) as reason:
        outcome.failures.append(stage.without_place(f"the scenario could not go on: {reason!r}"))


def _judge(scenario: ConsumerScenario, stage: ConsumerStage, outcome: Outcome) -> None:
    began_s = time.monotonic()
    rules = SinkRules(stage.sink.exactly_once, scenario.violent, stage.lost)
    outcome.audit = stage.sink.audit(stage.publisher.places, rules, stage.deaths)
    outcome.audit_s = time.monotonic() - began_s
    if stage.watcher.steps_back:
        outcome.failures.append(f"committed offsets went back: {'; '.join(stage.watcher.steps_back[:5])}")
    if stage.paused_s and max(stage.paused_s) > LONGEST_PAUSE_S:
        outcome.failures.append(_describe_pauses(*stage.paused_s))
    if not stage.evidence:
        outcome.vacuous.append("nothing shows that the fault took place")
    if stage.fault_began_s is None or stage.fault_ended_s is None:
        outcome.vacuous.append("the fault did not begin and end")
        return
    _count_around_the_fault(scenario, stage, outcome, outcome.audit)
    _time_the_recovery(stage, outcome, stage.fault_ended_s)


def _describe_pauses(stayed_s: float, moved_s: float) -> str:
    """With the load: a machine that has too much to do stands still by itself."""
    load, cores = os.getloadavg()[0], os.cpu_count()
    return (
        f"partitions stood still for up to {stayed_s:.1f} s where they stayed and {moved_s:.1f} s where they moved, "
        f"more than {LONGEST_PAUSE_S:g} s; the machine's load was {load:.0f} on {cores} cores"
    )


def _count_around_the_fault(scenario: ConsumerScenario, stage: ConsumerStage, outcome: Outcome, found: Audit) -> None:
    assert stage.fault_began_s is not None
    assert stage.fault_ended_s is not None
    edges = (0.0, stage.fault_began_s, stage.fault_ended_s, float("inf"))
    present = [at_s for number, at_s in stage.publisher.confirmed_at_s.items() if found.present[number]]
    counts = [sum(1 for at_s in present if start <= at_s < end) for start, end in pairwise(edges)]
    outcome.written = (counts[0], counts[1], counts[2])
    wanted = {"before": scenario.before, "during": scenario.during, "after": scenario.after}
    for (when, least), count in zip(wanted.items(), counts, strict=True):
        if count < least:
            outcome.vacuous.append(f"{count} records published {when} the fault arrived; at least {least} have to")


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
