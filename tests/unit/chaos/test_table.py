"""No fault is left out silently, and every mutation has a scenario that is to find it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.chaos.consumers import table as consumer_table
from tests.chaos.consumers.mutants.changes import CHANGES
from tests.chaos.consumers.sinks import SINKS
from tests.chaos.mutants.delivery import MUTATIONS as BREAKING
from tests.chaos.table import FAULTS, MUTATIONS, SCENARIOS


def test_every_fault_has_a_scenario() -> None:
    """And every scenario a fault of the table."""
    listed = {fault for faults in FAULTS.values() for fault in faults}
    assert {scenario.fault for scenario in SCENARIOS.values()} == listed


def test_every_mutation_is_looked_for() -> None:
    """Under a scenario that there is."""
    assert {mutation.name for mutation in MUTATIONS} == set(BREAKING)
    assert {mutation.scenario for mutation in MUTATIONS} <= SCENARIOS.keys()


def test_every_fault_of_the_consumer_has_a_scenario_and_every_sink_one() -> None:
    scenarios = consumer_table.SCENARIOS.values()
    assert {scenario.fault for scenario in scenarios} == {
        fault for faults in consumer_table.FAULTS.values() for fault in faults
    }
    assert {scenario.sink for scenario in scenarios} == SINKS.keys()


def test_every_mutation_of_the_consumer_is_looked_for() -> None:
    assert {mutation.name for mutation in consumer_table.MUTATIONS} == CHANGES.keys()
    assert {mutation.scenario for mutation in consumer_table.MUTATIONS} <= consumer_table.SCENARIOS.keys()


def test_the_auditor_shares_no_code_with_the_services() -> None:
    """Nor does what it is told by: the journal, the lines, the reader."""
    folder = Path(__file__).parents[2] / "chaos"
    own = ("alarms", "audit", "numbered", "publisher", "sinks", "webhook")
    for name in (
        *("auditor", "files", "journal", "lines", "reading", "topic_records"),
        *(f"consumers/{name}" for name in own),
    ):
        imported = {
            module
            for node in ast.walk(ast.parse((folder / f"{name}.py").read_text()))
            for module in _modules(node)
            if module.split(".")[0] in ("services", "shared", "compose")
        }
        assert imported == set(), name


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
