"""`python -m bench`, or `make bench`: our services beside other ways to do the same."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.contender import Suite
from bench.document import markdown
from bench.errors import BenchmarkFailed
from bench.machine import conditions_of
from bench.rounds import SuiteResult, run_count, run_suite
from bench.samples import read_samples, samples_json
from bench.stage import Stage
from bench.suites import make_suites
from bench.tables import TextTable, figures_table, ratios_table

ROOT = Path(__file__).parents[1]
SAMPLES_FILE = ROOT / ".run" / "benchmarks.json"
TEXT_FILE = ROOT / "docs" / "benchmarks.md"
PLAIN_WIDTH = 160
PUBLISHED_SAMPLES_FILE = ROOT / "docs" / "benchmarks.json"


def main() -> int:
    """Run everything. Returns the exit code: 1 when a contender failed, 2 for an argument that is none."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    arguments = _arguments()
    suites = make_suites(quick=arguments.quick)
    try:
        if not arguments.from_samples:
            _measure(suites, console)
        if arguments.write or arguments.from_samples:
            _publish(suites, console)
    except BenchmarkFailed as error:
        console.print(f"The benchmark was ended: {error}", style="bold red")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the services beside other ways to do the same work, against a real broker that it starts "
        "on free ports. Takes about 15 minutes and both cores: run nothing else meanwhile.",
    )
    parser.add_argument("--quick", action="store_true", default=_flag("QUICK"), help="2 minutes (make: QUICK=1)")
    parser.add_argument(
        "--write",
        action="store_true",
        default=_flag("WRITE"),
        help=f"write {TEXT_FILE.relative_to(ROOT)} and its samples (make: WRITE=1)",
    )
    parser.add_argument(
        "--from-samples",
        action="store_true",
        help=f"measure nothing; write the document from {SAMPLES_FILE.relative_to(ROOT)}, the samples of the last run",
    )
    arguments = parser.parse_args()
    if arguments.quick and (arguments.write or arguments.from_samples):
        parser.error("a quick run is not written down: its figures are too coarse")
    return arguments


def _flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def _measure(suites: Sequence[Suite], console: Console) -> None:
    started_at = time.monotonic()
    results = _run_all(suites, console)
    conditions = conditions_of(results, time.monotonic() - started_at)
    for name, value in conditions.described().items():
        console.print(f"{name}: {value}", highlight=False)
    SAMPLES_FILE.parent.mkdir(exist_ok=True)
    SAMPLES_FILE.write_text(samples_json(results, conditions))
    console.print(f"Samples: {SAMPLES_FILE.relative_to(ROOT)}; {conditions.elapsed_s / 60:.1f} minutes.")


def _publish(suites: Sequence[Suite], console: Console) -> None:
    try:
        samples = SAMPLES_FILE.read_text()
    except FileNotFoundError as error:
        raise BenchmarkFailed(f"{SAMPLES_FILE.relative_to(ROOT)} is not there; run without --from-samples") from error
    TEXT_FILE.write_text(markdown(*read_samples(samples, suites)))
    PUBLISHED_SAMPLES_FILE.write_text(samples)
    console.print(f"Written: {TEXT_FILE.relative_to(ROOT)}")


def _run_all(suites: Sequence[Suite], console: Console) -> list[SuiteResult]:
    results = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, Stage.open() as stage:
        total = sum(run_count(suite) for suite in suites)
        task = progress.add_task("", total=total, completed=-1)  # a run is done when the next one begins

        def on_run(description: str) -> None:
            progress.update(task, description=description, advance=1)
            if not console.is_terminal:
                console.print(description)

        for suite in suites:
            console.rule(suite.title)
            results.append(run_suite(suite, stage, on_run))
            _show(results[-1], console)
    return results


def _show(result: SuiteResult, console: Console) -> None:
    console.print(_rich_table(figures_table(result)))
    if ratios := ratios_table(result):
        console.print(_rich_table(ratios))


def _rich_table(table: TextTable) -> Table:
    name, *figures = table.head
    shown = Table()
    shown.add_column(name)
    for heading in figures:
        shown.add_column(heading, justify="right")
    for row in table.rows:
        shown.add_row(*row)
    return shown


if __name__ == "__main__":
    sys.exit(main())
