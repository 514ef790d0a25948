"""A short selection of the suite, on the producer and the consumer as they are and on broken ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.consumers import table as consumer_table
from tests.chaos.consumers.runner import play_consumer
from tests.chaos.consumers.stage import CONSUMER
from tests.chaos.kafka import Kafka
from tests.chaos.runner import play
from tests.chaos.scenario import Verdict
from tests.chaos.scene import Plan
from tests.chaos.table import MUTATIONS, SCENARIOS, Mutation

SELECTION = ("sigkill_at_random_moments", "rotated_by_rename_under_load")
# One of each sink that stores records.
CONSUMER_SELECTION = (
    "cut_off_from_the_broker_archive",
    "commits_cut_postgres",
    "replicas_killed_at_random_moments_kafka",
)
CONSUMER_BROKEN = ("commit_before_sink",)
BROKEN_PATIENCE_S = 8.0
BROKEN = ("checkpoint_before_confirmation",)


@pytest.mark.parametrize("name", SELECTION)
def test_the_producer_stands_the_fault(name: str, kafka: Kafka, tmp_path: Path, plan: Plan) -> None:
    """Nothing lost, doubled, moved or changed, and the fault took place."""
    outcome = play(SCENARIOS[name], kafka, tmp_path, plan)
    assert outcome.verdict is Verdict.GREEN, outcome.problems


@pytest.mark.parametrize(
    "mutation", [mutation for mutation in MUTATIONS if mutation.name in BROKEN], ids=lambda mutation: mutation.name
)
def test_the_auditor_finds_the_mutation(mutation: Mutation, kafka: Kafka, tmp_path: Path, plan: Plan) -> None:
    """A producer that is broken on purpose turns it red, as what it is."""
    broken = replace(plan, patience_s=BROKEN_PATIENCE_S, program=("tests.chaos.mutants", mutation.name))
    outcome = play(SCENARIOS[mutation.scenario], kafka, tmp_path, broken)
    assert outcome.verdict is Verdict.RED
    assert mutation.kind in outcome.red


@pytest.mark.parametrize("name", CONSUMER_SELECTION)
def test_the_consumer_stands_the_fault(name: str, kafka: Kafka, tmp_path: Path, plan: Plan) -> None:
    """Nothing lost, nothing doubled that the fault does not explain, the order kept, and the fault took place."""
    outcome = play_consumer(consumer_table.SCENARIOS[name], kafka, tmp_path, replace(plan, program=CONSUMER))
    assert outcome.verdict is Verdict.GREEN, outcome.problems


@pytest.mark.parametrize(
    "mutation",
    [mutation for mutation in consumer_table.MUTATIONS if mutation.name in CONSUMER_BROKEN],
    ids=lambda mutation: mutation.name,
)
def test_the_auditor_finds_the_mutation_of_the_consumer(
    mutation: Mutation, kafka: Kafka, tmp_path: Path, plan: Plan
) -> None:
    program = ("tests.chaos.consumers.mutants", mutation.name)
    scenario = consumer_table.SCENARIOS[mutation.scenario]
    outcome = play_consumer(scenario, kafka, tmp_path, replace(plan, patience_s=BROKEN_PATIENCE_S, program=program))
    assert outcome.verdict is Verdict.RED
    assert mutation.kind in outcome.red
