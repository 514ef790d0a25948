"""`python -m bench.brokers`, or `make compare`: Kafka, RabbitMQ, ActiveMQ, and what SNS with SQS do."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.brokers.agreement import run_before
from bench.brokers.broker import Candidate, Durability
from bench.brokers.candidates import all_candidates
from bench.brokers.claims import judge_all
from bench.brokers.disk import Disk, look_at_disk
from bench.brokers.questions import Question, make_questions, make_warm_up
from bench.brokers.report import FOLDER, figures_table, make_report, shown_candidates
from bench.brokers.rounds import Rounds, run_count
from bench.brokers.samples import NOT_HERE, Comparison, comparison_json, foreign_cores, read_comparison
from bench.brokers.stage import Stage
from bench.errors import BenchmarkFailed
from bench.machine import conditions_now
from bench.tables import TextTable
from compose.errors import OperatorError

ROOT = Path(__file__).parents[2]
SAMPLES_FILE = ROOT / ".run" / "broker-comparison.json"
QUICK_SAMPLES_FILE = SAMPLES_FILE.with_name("broker-comparison-quick.json")
LOG_FILE = SAMPLES_FILE.with_suffix(".log")
"""How long each run took, the whole reasons of those that failed, and what clients say of a broker that was killed."""
TEXT_FILE = ROOT / "docs" / "broker-comparison.md"
PUBLISHED_SAMPLES_FILE = TEXT_FILE.with_suffix(".json")
SAMPLES_BEFORE_FILE = TEXT_FILE.with_name(f"{TEXT_FILE.stem}-before.json")
"""Of the full run that was published before."""
PLAIN_WIDTH = 160
PACKAGES = ("aiokafka", "aio-pika", "rstream", "stompman", "aiobotocore", "uvloop")
FULL_TIMEOUT_S = 29 * 60.0
QUICK_TIMEOUT_S = 10 * 60.0
"""Of which it needs a third or less where nothing else runs."""
SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
ON_A_DISK = "set TMPDIR to a folder on a disk: what is synced to {file_system} is in memory only"


def main() -> int:
    """Run everything. Returns the exit code: 1 when a run failed, 2 for an argument that is none."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    arguments = _arguments()
    candidates = all_candidates()
    signal.signal(signal.SIGTERM, _end)
    LOG_FILE.parent.mkdir(exist_ok=True)
    logging.basicConfig(filename=LOG_FILE, filemode="w", level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("bench").setLevel(logging.INFO)
    try:
        if not arguments.from_samples:
            comparison = _measure(candidates, console, quick=arguments.quick)
        else:
            comparison = _read_samples()
        if arguments.write or arguments.from_samples:
            _publish(comparison, candidates)
            console.print(f"Written: {TEXT_FILE.relative_to(ROOT)}")
    except (BenchmarkFailed, OperatorError) as error:
        console.print(f"The comparison was ended: {error}", style="bold red", markup=False)
        return 1
    for failure in comparison.failures:
        console.print(f"Failed: {failure}; see {LOG_FILE.relative_to(ROOT)}", style="red", markup=False)
    return 1 if comparison.failures else 0


def _end(number: int, frame: object) -> None:
    """Leave all contexts, once: brokers and folders go with them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(SIGTERM_EXIT_CODE)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.brokers",
        description="Compares every broker that can be started here, on free ports of loopback and in temporary "
        "folders. Takes under 30 minutes and both cores: run nothing else meanwhile.",
    )
    parser.add_argument("--quick", action="store_true", default=_flag("QUICK"), help="under 3 minutes (make: QUICK=1)")
    parser.add_argument(
        "--write",
        action="store_true",
        default=_flag("WRITE"),
        help=f"write {TEXT_FILE.relative_to(ROOT)}, its samples and its charts, and hold it against the run that was "
        "published before; not of a quick run (make: WRITE=1)",
    )
    parser.add_argument(
        "--from-samples",
        action="store_true",
        help=f"measure nothing; write the document from {SAMPLES_FILE.relative_to(ROOT)}, of the last full run",
    )
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("a quick run is too coarse to be published: leave out QUICK or WRITE")
    return arguments


def _flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def _measure(candidates: Sequence[Candidate], console: Console, *, quick: bool) -> Comparison:
    started_at = time.monotonic()
    disk = look_at_disk()
    versions = {candidate.name: candidate.find_version() for candidate in candidates}
    absent = absent_before(candidates, versions, disk)
    _tell_absent(absent, console)
    present = [candidate for candidate in candidates if candidate.name not in absent]
    questions = make_questions(quick=quick)
    rounds = _ask_all(questions, present, console, quick=quick)
    absent |= rounds.stage.absent
    elapsed_s = time.monotonic() - started_at
    foreign = median(foreign_cores(rounds.samples) or [0.0])
    comparison = Comparison(
        conditions=conditions_now(elapsed_s, _versions(), foreign),
        disk=disk,
        quick=quick,
        seed=rounds.seed,
        versions={name: number for name, number in versions.items() if number is not None and name not in absent},
        absent=absent,
        unmeasured=rounds.unmeasured,
        failures=rounds.failures,
        samples=rounds.samples,
    )
    _show(comparison, questions, candidates, console)
    samples_file = QUICK_SAMPLES_FILE if quick else SAMPLES_FILE
    samples_file.write_text(comparison_json(comparison))
    console.print(f"Samples: {samples_file.relative_to(ROOT)}; {elapsed_s / 60:.1f} minutes.")
    return comparison


def absent_before(candidates: Sequence[Candidate], versions: Mapping[str, str | None], disk: Disk) -> dict[str, str]:
    """What need not be tried, and why."""
    absent = {candidate.name: candidate.how_to_get for candidate in candidates if versions[candidate.name] is None}
    if not disk.keeps:
        reason = ON_A_DISK.format(file_system=disk.file_system)
        absent |= {candidate.name: reason for candidate in candidates if candidate.durability is Durability.DISK}
    return absent


def _tell_absent(absent: Mapping[str, str], console: Console) -> None:
    for name, reason in absent.items():
        console.print(f"{name}: {NOT_HERE}; {reason}", style="yellow", markup=False)


def _versions() -> Mapping[str, str]:
    """Of what the brokers have in common; theirs stand beside them."""
    return {
        platform.system(): platform.release(),
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _ask_all(
    questions: Sequence[Question], candidates: Sequence[Candidate], console: Console, *, quick: bool
) -> Rounds:
    console.print(f"Starting {len(candidates)} brokers …")
    give_up_at = time.monotonic() + (QUICK_TIMEOUT_S if quick else FULL_TIMEOUT_S)
    with Stage.open(candidates) as stage:
        _tell_absent(stage.absent, console)
        started = [candidate for candidate in candidates if candidate.name in stage.brokers]
        with _progress(run_count(questions, started, warm_up=not quick), console) as tell:
            rounds = Rounds(stage, started, tell, seed=int(time.time()), give_up_at=give_up_at)
            if not quick:
                rounds.warm_up(make_warm_up())
            rounds.ask(questions)
    return rounds


@contextmanager
def _progress(total: int, console: Console) -> Iterator[Callable[[str], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=-1)  # a run is done when the next one begins

        def tell(description: str) -> None:
            progress.update(task, description=description, advance=1)
            if not console.is_terminal:
                console.print(f"{progress.tasks[0].completed + 1:.0f}/{total} {description}", markup=False)

        yield tell


def _show(
    comparison: Comparison, questions: Sequence[Question], candidates: Sequence[Candidate], console: Console
) -> None:
    for question in questions:
        console.rule(question.title)
        console.print(
            _rich_table(figures_table(comparison, question, shown_candidates(comparison, question, candidates)))
        )
    console.rule("The usual table")
    for each in judge_all(comparison):
        told = f"{each.claim.aspect}, {each.claim.system}, “{each.claim.assertion}”: {each.verdict}. {each.figures}"
        console.print(told, markup=False)


def _rich_table(table: TextTable) -> Table:
    shown = Table()
    for place, heading in enumerate(table.head):
        shown.add_column(heading, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def _read_samples() -> Comparison:
    try:
        return read_comparison(SAMPLES_FILE.read_text())
    except FileNotFoundError as error:
        raise BenchmarkFailed(f"{SAMPLES_FILE.relative_to(ROOT)} is not there; run without --from-samples") from error


def _publish(comparison: Comparison, candidates: Sequence[Candidate]) -> None:
    """A chart that is made no more is removed."""
    published, before = _read_published(PUBLISHED_SAMPLES_FILE), _read_published(SAMPLES_BEFORE_FILE)
    before = run_before(comparison, published, before)
    report = make_report(comparison, before, make_questions(quick=comparison.quick), candidates)
    folder = TEXT_FILE.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for chart in folder.glob("*.svg"):
        chart.unlink()
    for name, chart_text in report.charts.items():
        (folder / name).write_text(chart_text)
    TEXT_FILE.write_text(report.text)
    PUBLISHED_SAMPLES_FILE.write_text(comparison_json(comparison))
    if before is None:
        SAMPLES_BEFORE_FILE.unlink(missing_ok=True)
    else:
        SAMPLES_BEFORE_FILE.write_text(comparison_json(before))


def _read_published(path: Path) -> Comparison | None:
    return read_comparison(path.read_text()) if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
