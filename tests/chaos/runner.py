"""Plays a scenario: stage, fault, drain, audit, verdict."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from tests.chaos.auditor import Rules, audit
from tests.chaos.kafka import Kafka, Topics
from tests.chaos.reading import read_topics
from tests.chaos.scenario import Outcome, Scenario
from tests.chaos.scene import Plan
from tests.chaos.stage import Stage
from tests.chaos.weighing import count_around, ending_in, fault_of


def play(scenario: Scenario, kafka: Kafka, folder: Path, plan: Plan) -> Outcome:
    """Run it and say what came of it. Never raises for what the producer does."""
    run = uuid.uuid4().hex[:8]
    topics = Topics.of(run)
    outcome = Outcome(scenario.name)
    began_s = time.monotonic()
    kafka.make_topics(topics)
    stage = Stage(folder / f"{scenario.name}-{run}", kafka, topics, run, plan, began_s + scenario.limit_s)
    with stage.watcher:
        try:
            with ending_in(outcome, stage):
                _act(scenario, stage)
        finally:
            stage.leave()
            kafka.heal()
    if outcome.not_run is None and not outcome.vacuous:
        _judge(scenario, stage, outcome)
    kafka.remove_topics(topics)
    outcome.evidence = stage.evidence
    outcome.took_s = time.monotonic() - began_s
    return outcome


def _act(scenario: Scenario, stage: Stage) -> None:
    """The fault, and until everything is delivered and the producer has ended on SIGTERM."""
    scenario.play(stage)
    stage.until_drained()
    for producer in stage.running():
        stage.stop(producer)


def _judge(scenario: Scenario, stage: Stage, outcome: Outcome) -> None:
    """Audit, and look whether the run shows anything."""
    began_s = time.monotonic()
    rules = Rules(stage.plan.mode, stage.fault_began_s is not None, stage.lost, stage.doubled)
    records = read_topics(stage.kafka.bootstrap_servers, {stage.topics.records: False, stage.topics.dead_letters: True})
    outcome.audit = found = audit(stage.journal, records, rules)
    outcome.audit_s = time.monotonic() - began_s
    if stage.journal.changed_writes():
        outcome.failures.append("the journal does not say what was written")
    if fault := fault_of(stage, outcome):
        arrived_at_s = [at_s for number, at_s in stage.journal.written() if found.present[number]]
        count_around(fault, arrived_at_s, scenario, outcome)
        _time_the_recovery(stage, outcome, fault[1])


def _time_the_recovery(stage: Stage, outcome: Outcome, ended_s: float) -> None:
    arrivals = stage.watcher.arrivals
    owed = sum(1 for _number, at_s in stage.journal.written() if at_s < ended_s) - len(stage.not_awaited())
    first = next((at_s for at_s, _count in arrivals if at_s > ended_s), None)
    drained = next((at_s for at_s, count in arrivals if count >= owed), None)
    outcome.first_s = first - ended_s if first is not None else None
    outcome.drained_s = max(0.0, drained - ended_s) if drained is not None else None
