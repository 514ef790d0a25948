"""`python -m bench`, or `make bench`: our services beside other ways to do the same.

QUICK=1 takes about 2 minutes, WRITE=1 writes docs/benchmarks.md and docs/benchmarks.json.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.contender import Suite
from bench.document import markdown, samples_json
from bench.errors import BenchmarkFailed
from bench.machine import conditions_of
from bench.rounds import SuiteResult, run_count, run_suite
from bench.stage import Stage
from bench.suites import make_suites
from bench.tables import TextTable, figures_table, ratios_table

ROOT = Path(__file__).parents[1]
SAMPLES_FILE = ROOT / ".run" / "benchmarks.json"
TEXT_FILE = ROOT / "docs" / "benchmarks.md"
PLAIN_WIDTH = 160
PUBLISHED_SAMPLES_FILE = ROOT / "docs" / "benchmarks.json"


def main() -> int:
    """Run everything. Returns the exit code: 1 when a contender failed."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    suites = make_suites(quick=_flag("QUICK"))
    started_at = time.monotonic()
    try:
        results = _run_all(suites, console)
    except BenchmarkFailed as error:
        console.print(f"The benchmark was ended: {error}", style="bold red")
        return 1
    conditions = conditions_of(results, time.monotonic() - started_at)
    for name, value in conditions.described().items():
        console.print(f"{name}: {value}", highlight=False)
    samples = samples_json(results, conditions)
    SAMPLES_FILE.parent.mkdir(exist_ok=True)
    SAMPLES_FILE.write_text(samples + "\n")
    console.print(f"Samples: {SAMPLES_FILE.relative_to(ROOT)}; {conditions.elapsed_s / 60:.1f} minutes.")
    if _flag("WRITE"):
        PUBLISHED_SAMPLES_FILE.write_text(samples + "\n")
        TEXT_FILE.write_text(markdown(results, conditions))
        console.print(f"Written: {TEXT_FILE.relative_to(ROOT)}")
    return 0


def _flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


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
