"""`make chaos`: every scenario and every mutation, with a table at the end and docs/chaos-report.md from the run."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.chaos.auditor import Mode
from tests.chaos.kafka import Kafka, one_node, three_nodes
from tests.chaos.report import Row, Run, markdown, row_of, row_of_mutation, show
from tests.chaos.runner import play
from tests.chaos.scenario import Scenario
from tests.chaos.scene import Plan
from tests.chaos.table import MUTATIONS, SCENARIOS, Mutation

# A broken producer loses lines for good: waiting for them longer shows nothing.
BROKEN_PATIENCE_S = 8.0
ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "chaos-report.md"
PARTIAL_REPORT = ROOT / ".run" / "chaos-report.md"


class Kafkas:
    """The single node and the cluster, each started when it is first needed."""

    def __init__(self, folder: Path, stopping: ExitStack) -> None:
        self._folder = folder
        self._stopping = stopping
        self._started: dict[bool, Kafka] = {}

    def of(self, scenario: Scenario) -> Kafka:
        if scenario.cluster not in self._started:
            make: Callable[[Path], AbstractContextManager[Kafka]] = three_nodes if scenario.cluster else one_node
            self._started[scenario.cluster] = self._stopping.enter_context(make(self._folder))
        return self._started[scenario.cluster]


def chosen(names: str) -> tuple[list[Scenario], list[Mutation]]:
    """What SCENARIO asks for; everything without it. Raises SystemExit for a name that is not known."""
    if not names:
        return list(SCENARIOS.values()), list(MUTATIONS)
    wanted = {name.strip() for name in names.split(",")}
    known = [*SCENARIOS, *(mutation.name for mutation in MUTATIONS)]
    if unknown := wanted.difference(known):
        raise SystemExit(f"SCENARIO={', '.join(sorted(unknown))} is not known. There are:\n  " + "\n  ".join(known))
    scenarios = [scenario for name, scenario in SCENARIOS.items() if name in wanted]
    return scenarios, [mutation for mutation in MUTATIONS if mutation.name in wanted]


def plan_of(environment: dict[str, str]) -> Plan:
    """SEED and DELIVERY. Raises SystemExit for a value that is none."""
    seed = environment.get("SEED") or str(secrets.randbelow(1_000_000))
    if not seed.isdigit():
        raise SystemExit(f"SEED={seed} is not a whole number.")
    delivery = environment.get("DELIVERY") or Mode.EXACTLY_ONCE
    if delivery not in set(Mode):
        raise SystemExit(f"DELIVERY={delivery} is not one of {', '.join(Mode)}.")
    return Plan(Mode(delivery), int(seed))


def _teach() -> None:
    """--help; there are no other arguments."""
    names = [*SCENARIOS, *(mutation.name for mutation in MUTATIONS)]
    argparse.ArgumentParser(
        prog="python -m tests.chaos",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Brings every fault upon the services and counts what arrived: about 20 minutes, against a real "
        "broker.\nExit code 0 when every verdict is as it has to be. Settings come from the environment:\n\n"
        "  SCENARIO=name,name      some scenarios or mutations; their page is .run/chaos-report.md\n"
        "  SEED=number             the random choices of an earlier run\n"
        "  DELIVERY=at-least-once  that mode; doubled lines are allowed then\n",
        epilog="scenarios and mutations:\n  " + "\n  ".join(names),
    ).parse_args()


def main() -> int:
    """Play what is asked for; 0 when all is as it has to be."""
    _teach()
    console = Console(soft_wrap=True)
    names = os.environ.get("SCENARIO", "")
    scenarios, mutations = chosen(names)
    plan = plan_of(dict(os.environ))
    console.print(f"{len(scenarios)} scenarios, {len(mutations)} mutations, {plan.mode}, SEED={plan.seed}")
    began_s = time.monotonic()
    rows: list[Row] = []
    with ExitStack() as stopping:
        folder = Path(stopping.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        kafkas = Kafkas(folder, stopping)
        for scenario in scenarios:
            console.print(f"{len(rows) + 1:3} {scenario.name} …", end=" ")
            outcome = play(scenario, kafkas.of(scenario), folder, plan)
            rows.append(row_of(scenario, outcome))
            show(console, rows[-1])
        for mutation in mutations:
            console.print(f"{len(rows) + 1:3} {mutation.name} under {mutation.scenario} …", end=" ")
            scenario = SCENARIOS[mutation.scenario]
            broken = replace(
                plan, short=True, patience_s=BROKEN_PATIENCE_S, program=("tests.chaos.mutants", mutation.name)
            )
            rows.append(row_of_mutation(mutation, play(scenario, kafkas.of(scenario), folder, broken)))
            show(console, rows[-1])
    run = Run(plan, rows, time.monotonic() - began_s)
    report = PARTIAL_REPORT if names else REPORT
    report.parent.mkdir(exist_ok=True)
    report.write_text(markdown(run))
    console.print(f"Written: {report.relative_to(ROOT)}")
    bad = [row for row in rows if not row.good]
    console.print(f"{len(rows) - len(bad)} of {len(rows)} as they have to be, {run.took_s:.0f} s, SEED={plan.seed}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
