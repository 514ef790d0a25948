"""Plays a scenario: stage, fault, drain, audit, verdict."""

from __future__ import annotations

import time
import uuid
from itertools import pairwise
from pathlib import Path

from confluent_kafka import KafkaException

from compose.errors import OperatorError
from tests.chaos.auditor import Audit, Rules, audit
from tests.chaos.kafka import Kafka, Topics
from tests.chaos.reading import read_topics
from tests.chaos.scenario import Outcome, Scenario
from tests.chaos.scene import Failed, NotRun, Plan, Vacuous
from tests.chaos.stage import Stage


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
            _act(scenario, stage, outcome)
        finally:
            stage.leave()
            kafka.heal()
    if outcome.not_run is None and not outcome.vacuous:
        _judge(scenario, stage, outcome)
    kafka.remove_topics(topics)
    outcome.evidence = stage.evidence
    outcome.took_s = time.monotonic() - began_s
    return outcome


def _act(scenario: Scenario, stage: Stage, outcome: Outcome) -> None:
    """The fault, and until everything is delivered and the producer has ended on SIGTERM."""
    try:
        scenario.play(stage)
        stage.until_drained()
        for producer in stage.running():
            stage.stop(producer)
    except NotRun as reason:
        outcome.not_run = str(reason)
    except Vacuous as reason:
        outcome.vacuous.append(stage.without_place(str(reason)))
    except (Failed, AssertionError) as reason:
        outcome.failures.append(stage.without_place(str(reason)))
    except (OSError, KafkaException, OperatorError) as reason:
        outcome.failures.append(stage.without_place(f"the scenario could not go on: {reason!r}"))


def _judge(scenario: Scenario, stage: Stage, outcome: Outcome) -> None:
    """Audit, and look whether the run shows anything."""
    began_s = time.monotonic()
    rules = Rules(stage.plan.mode, stage.fault_began_s is not None, stage.lost, stage.doubled)
    records = read_topics(stage.kafka.bootstrap_servers, {stage.topics.records: False, stage.topics.dead_letters: True})
    outcome.audit = audit(stage.journal, records, rules)
    outcome.audit_s = time.monotonic() - began_s
    if stage.journal.changed_writes():
        outcome.failures.append("the journal does not say what was written")
    if not stage.evidence:
        outcome.vacuous.append("nothing shows that the fault took place")
    if stage.fault_began_s is None or stage.fault_ended_s is None:
        outcome.vacuous.append("the fault did not begin and end")
        return
    _count_around_the_fault(scenario, stage, outcome, outcome.audit)
    _time_the_recovery(stage, outcome, stage.fault_ended_s)


def _count_around_the_fault(scenario: Scenario, stage: Stage, outcome: Outcome, found: Audit) -> None:
    assert stage.fault_began_s is not None
    assert stage.fault_ended_s is not None
    edges = (0.0, stage.fault_began_s, stage.fault_ended_s, float("inf"))
    counts = [
        sum(1 for number in stage.journal.numbers_between(*between) if found.present[number])
        for between in pairwise(edges)
    ]
    outcome.written = (counts[0], counts[1], counts[2])
    wanted = {"before": scenario.before, "during": scenario.during, "after": scenario.after}
    for (when, least), count in zip(wanted.items(), counts, strict=True):
        if count < least:
            outcome.vacuous.append(
                f"{count} lines that were written {when} the fault arrived; at least {least} have to"
            )


def _time_the_recovery(stage: Stage, outcome: Outcome, ended_s: float) -> None:
    arrivals = stage.watcher.arrivals
    owed = sum(1 for _number in stage.journal.numbers_between(0.0, ended_s)) - len(stage.not_awaited())
    first = next((at_s for at_s, _count in arrivals if at_s > ended_s), None)
    drained = next((at_s for at_s, count in arrivals if count >= owed), None)
    outcome.first_s = first - ended_s if first is not None else None
    outcome.drained_s = max(0.0, drained - ended_s) if drained is not None else None
