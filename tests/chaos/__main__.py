"""`make chaos`: every scenario and every mutation, with a table at the end and docs/chaos-report.md from the run."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.chaos.auditor import Mode
from tests.chaos.consumers import table as consumer_table
from tests.chaos.consumers.runner import play_consumer
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.consumers.stage import CONSUMER
from tests.chaos.kafka import Kafka, one_node, three_nodes
from tests.chaos.kept import keep, left_of, load, revision_of, with_row
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
KEPT = ROOT / ".run" / "chaos-run.pickle"


class Kafkas:
    """The single node and the cluster, each started when it is first needed."""

    def __init__(self, folder: Path, stopping: ExitStack) -> None:
        self._folder = folder
        self._stopping = stopping
        self._started: dict[bool, Kafka] = {}

    def of(self, *, cluster: bool) -> Kafka:
        if cluster not in self._started:
            make: Callable[[Path], AbstractContextManager[Kafka]] = three_nodes if cluster else one_node
            self._started[cluster] = self._stopping.enter_context(make(self._folder))
        return self._started[cluster]


Playing = Callable[[Kafkas, Path, Plan], Row]


def playing_producer(scenario: Scenario) -> Playing:
    return lambda kafkas, folder, plan: row_of(
        scenario, play(scenario, kafkas.of(cluster=scenario.cluster), folder, plan)
    )


def playing_consumer(scenario: ConsumerScenario) -> Playing:
    return lambda kafkas, folder, plan: row_of(
        scenario, play_consumer(scenario, kafkas.of(cluster=False), folder, replace(plan, program=CONSUMER))
    )


def playing_mutation(mutation: Mutation) -> Playing:
    """The scenario that has to find it, in its short form."""

    def play_broken(kafkas: Kafkas, folder: Path, plan: Plan) -> Row:
        broken = replace(plan, short=True, patience_s=BROKEN_PATIENCE_S)
        if (ours := consumer_table.SCENARIOS.get(mutation.scenario)) is not None:
            broken = replace(broken, program=("tests.chaos.consumers.mutants", mutation.name))
            return row_of_mutation(mutation, play_consumer(ours, kafkas.of(cluster=False), folder, broken))
        scenario = SCENARIOS[mutation.scenario]
        broken = replace(broken, program=("tests.chaos.mutants", mutation.name))
        return row_of_mutation(mutation, play(scenario, kafkas.of(cluster=scenario.cluster), folder, broken))

    return play_broken


KNOWN: Mapping[str, Playing] = {
    **{name: playing_producer(scenario) for name, scenario in SCENARIOS.items()},
    **{name: playing_consumer(scenario) for name, scenario in consumer_table.SCENARIOS.items()},
    **{mutation.name: playing_mutation(mutation) for mutation in (*MUTATIONS, *consumer_table.MUTATIONS)},
}


def chosen(names: str) -> list[str]:
    """The scenarios and mutations that SCENARIO asks for; all without it. Raises SystemExit for one not known."""
    if not names:
        return list(KNOWN)
    wanted = {name.strip() for name in names.split(",")}
    if unknown := wanted.difference(KNOWN):
        raise SystemExit(f"SCENARIO={', '.join(sorted(unknown))} is not known. There are:\n  " + "\n  ".join(KNOWN))
    return [name for name in KNOWN if name in wanted]


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
    argparse.ArgumentParser(
        prog="python -m tests.chaos",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Brings every fault upon the services and counts what arrived: about 40 minutes, against a real "
        "broker.\nExit code 0 when every verdict is as it has to be. Settings come from the environment:\n\n"
        "  SCENARIO=name,name      some scenarios or mutations; their page is .run/chaos-report.md\n"
        "  CONTINUE=1              what is left of the last whole run, and again what was not as it has to be\n"
        "  SEED=number             the random choices of an earlier run\n"
        "  DELIVERY=at-least-once  that mode; doubled lines are allowed then\n",
        epilog="scenarios and mutations:\n  " + "\n  ".join(KNOWN),
    ).parse_args()


def play_all(console: Console, run: Run, playing: Sequence[str], kept: Path | None) -> Run:
    """Play what is left of it; after each row all of it is kept."""
    left = left_of(playing, run.rows)
    console.print(f"{len(left)} scenarios and mutations, {run.plan.mode}, SEED={run.plan.seed}")
    began_s, before_s, revision = time.monotonic(), run.took_s, revision_of(ROOT)
    with ExitStack() as stopping:
        folder = Path(stopping.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        kafkas = Kafkas(folder, stopping)
        for number, name in enumerate(left, 1):
            console.print(f"{number:3} {name} …", end=" ")
            row = replace(KNOWN[name](kafkas, folder, run.plan), revision=revision)
            show(console, row)
            run = Run(run.plan, with_row(playing, run.rows, row), before_s + time.monotonic() - began_s)
            if kept is not None:
                keep(kept, run)
    return run


def main() -> int:
    """Play what is asked for; 0 when all is as it has to be."""
    _teach()
    console = Console(soft_wrap=True)
    names = os.environ.get("SCENARIO", "")
    playing = chosen(names)
    continued = bool(os.environ.get("CONTINUE"))
    if continued and names:
        raise SystemExit("CONTINUE=1 is for whole runs, and SCENARIO chooses some.")
    run = load(KEPT) if continued else Run(plan_of(dict(os.environ)), [], 0.0)
    run = play_all(console, run, playing, None if names else KEPT)
    report = PARTIAL_REPORT if names else REPORT
    report.parent.mkdir(exist_ok=True)
    report.write_text(markdown(run))
    console.print(f"Written: {report.relative_to(ROOT)}")
    bad = [row for row in run.rows if not row.good]
    good = len(run.rows) - len(bad)
    console.print(f"{good} of {len(run.rows)} as they have to be, {run.took_s:.0f} s, SEED={run.plan.seed}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
