"""What a run is told as: lines on the terminal, and docs/chaos-report.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from bench.machine import machine_kind, versions
from tests.chaos.auditor import Kind
from tests.chaos.consumers import table as consumer_table
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.scenario import Outcome, Scenario, Verdict
from tests.chaos.scene import Plan
from tests.chaos.table import FAULTS, SCENARIOS, Mutation

_ALL: Mapping[str, Scenario | ConsumerScenario] = {**SCENARIOS, **consumer_table.SCENARIOS}
_STYLES = {Verdict.GREEN: "green", Verdict.RED: "red", Verdict.VACUOUS: "yellow", Verdict.NOT_RUN: "dim"}


@dataclass(frozen=True)
class Row:
    """One scenario or mutation. `good`: the verdict is the one that it has to be. `revision`: of the code played."""

    name: str
    about: str
    outcome: Outcome
    good: bool
    mutation: bool = False
    revision: str = ""

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict

    @property
    def problems(self) -> list[str]:
        return self.outcome.problems


@dataclass(frozen=True)
class Run:
    """All rows of one run. `took_s`: of all its sittings, with what was played again."""

    plan: Plan
    rows: Sequence[Row]
    took_s: float


def row_of(scenario: Scenario | ConsumerScenario, outcome: Outcome) -> Row:
    """A scenario has to be green, or not to be run with a reason."""
    good = outcome.verdict in (Verdict.GREEN, Verdict.NOT_RUN)
    return Row(scenario.name, scenario.fault, outcome, good)


def row_of_mutation(mutation: Mutation, outcome: Outcome) -> Row:
    """A mutation has to be found, as what it is; where the scenario promises nothing in this mode, it is not run."""
    good = mutation.kind in outcome.red or outcome.verdict is Verdict.NOT_RUN
    return Row(mutation.name, f"under {mutation.scenario}: {mutation.kind}", outcome, good, mutation=True)


def show(console: Console, row: Row) -> None:
    """The end of the row's line on the terminal."""
    outcome = row.outcome
    style = "red" if not row.good else "green" if row.mutation else _STYLES[row.verdict]
    counts = f", {outcome.audit.lines:,} lines" if outcome.audit else ""
    found = f", found {' and '.join(sorted(outcome.red))}" if row.mutation else ""
    reason = f": {outcome.not_run}" if outcome.not_run else ""
    console.print(f"[{style}]{row.verdict}[/{style}]{counts}{found}, {outcome.took_s:.0f} s{reason}")
    for problem in row.problems if not row.good else ():
        console.print(f"      {problem}", markup=False, highlight=False)


_HEAD = """\
# Chaos report

Written by `make chaos` on {date}, {minutes:.0f} minutes. Delivery: {mode}. Seed: {seed}.
Machine: {machine}. {versions}.
{revisions}
```sh
make chaos                                 # everything, and this page
make chaos SEED={seed:<28}  # with the random choices of this run
make chaos CONTINUE=1                      # what is left of a run that was ended, or was not as it has to be
make chaos SCENARIO=broker_hangs           # some scenarios or mutations; leaves this page alone
make chaos DELIVERY=at-least-once          # the other mode
```

## What it shows, and what not

- A real Kafka, real files, real processes. A writer appends numbered lines and notes each write after it returned. The
  auditor reads both topics from their beginning with another client (confluent-kafka, no group, read_uncommitted),
  shares no code with the services, and compares line by line.
- SIGKILL shows that a crash of the *process* is survived, not the loss of power: what the operating system had taken
  is still there. One broker shows nothing about replication; only the scenarios with three brokers do.
- `copytruncate` is lossy by nature: what was written and not yet read when the file is cut is gone for every reader.
  Such lines are counted as *lost by nature*, with the reason.
- A green row promises its fault on this machine in this run, not every interleaving. Random moments come from the seed;
  what the operating system does between them does not.

## Columns

*lines*: written. *lost*: in neither topic. *doubled*: there again; with exactly-once any is red, with at-least-once
one with the same generation and offset is explained by the fault. *moved*: of one file in one partition, first seen
behind a later line. *corrupt*: fields, original bytes, offset or length are not those of the line, or nobody wrote it.
*first* and *drained*: seconds from the end of the fault to the first line that arrived, and until as many lines were
there as had been written when it ended. A row is *vacuous*, which fails the run, when nothing shows that the fault took
place, or too few lines were written before, during and after it.

"""


def markdown(run: Run) -> str:
    """The text of docs/chaos-report.md."""
    head = _HEAD.format(
        date=datetime.now(UTC).date().isoformat(),
        seed=run.plan.seed,
        mode=run.plan.mode,
        minutes=run.took_s / 60,
        machine=machine_kind(),
        versions=", ".join(f"{name} {number}" for name, number in versions().items()),
        revisions=_revisions(run.rows),
    )
    played = [row for row in run.rows if not row.mutation]
    ran = [row for row in played if row.verdict is not Verdict.NOT_RUN]
    producers = [row for row in ran if row.name in SCENARIOS]
    consumers = [row for row in ran if row.name in consumer_table.SCENARIOS]
    parts = [
        head + _summary(ran),
        "## The producer\n\n" + _table(_HEADS, [_cells(row) for row in producers]),
        _CONSUMER_HEAD + _table(_HEADS, [_cells(row) for row in consumers]),
        _pauses(consumers),
        _not_run([row for row in played if row.verdict is Verdict.NOT_RUN]),
        "## Faults and their scenarios\n\n" + _table(("from", "fault", "scenarios"), _faults(played)),
        "## Evidence that the faults took place\n\n"
        + _table(("scenario", "what was observed"), [_evidence(row) for row in ran]),
        "## Mutations\n\nA producer or consumer that is broken on purpose has to turn the auditor red.\n\n"
        + _table(
            ("mutation", "scenario and what has to be found", "found"),
            [_found(row) for row in run.rows if row.mutation],
        ),
        _failures(run.rows),
    ]
    return "\n".join(part for part in parts if part)


_CONSUMER_HEAD = """\
## The consumer

Numbered records are published at 1,500 a second to eight partitions while the replicas of one group are under the
fault. The auditor reads the sink by other means than the consumer wrote it, and the dead-letter topic. *lines* are
records here; *doubled* is red for every sink that keeps its offsets with its output, and everywhere if nothing was
killed, cut or frozen; else it is *explained*. *first* and *drained* are taken from the group's committed offsets.
Committed offsets that go back are red.

The rows that end with `_alerts` count alarms instead: *lines* are the alarms that the published records have to raise,
worked out by the auditor from their numbers, and a process of its own is the webhook that notes what it is told.
*lost* is an alarm that was not told; *corrupt* one with other figures, as if a record were counted twice or not at all;
*doubled* one that was told again. That is explained at most once for each process that was killed, and only under the
same `Idempotency-Key`.

"""

_PAUSES_HEAD = """\
## What a reassignment costs

The client library, aiokafka, speaks Kafka's eager protocol only: when a replica joins or leaves, *every* replica gives
all its partitions back, finishes and commits the batch at hand, and reads on when the last one has joined again. So a
partition that stays where it is pauses as well, and no setting changes that; with the cooperative protocol (KIP-429) it
would not. The protocol allows a pause as long as the slowest replica needs to hear of it (a heartbeat, a quarter of
`SESSION_TIMEOUT_MS`) and to finish its batch, `REBALANCE_TIMEOUT_MS` at most. Here that was 6 s, with a heartbeat each
1.5 s; a pause over 5 s would be red. The longest time between two commits of one partition, which are 0.2 s apart else,
while 1 → 4 → 2 → 4 replicas read under load:

"""

_HEADS = (
    "scenario",
    "lines",
    "lost",
    "doubled",
    "moved",
    "corrupt",
    "lost by nature",
    "first s",
    "drained s",
    "verdict",
)


def _revisions(rows: Sequence[Row]) -> str:
    """At which commits of the code the rows were played; the names where it is not that of most."""
    of: dict[str, list[str]] = {}
    for row in rows:
        of.setdefault(row.revision, []).append(row.name)
    by_size = sorted(of, key=lambda revision: -len(of[revision]))
    told = [f"Played at revision {most or 'unknown'}." for most in by_size[:1]]
    told += [f"Played at revision {other or 'unknown'}: {', '.join(of[other])}." for other in by_size[1:]]
    return "".join(f"{line}\n" for line in told)


def _summary(rows: Sequence[Row]) -> str:
    audits = [row.outcome.audit for row in rows if row.outcome.audit]
    lines = sum(audit.lines for audit in audits)
    lost = sum(audit.findings[Kind.MISSING].count for audit in audits)
    unexplained = sum(audit.findings[Kind.DUPLICATE].count for audit in audits)
    return (
        f"**{len(rows)} of {len(_ALL)} scenarios played, {lines:,} lines: {lost:,} lost, {unexplained:,} doubled "
        "without an explanation.**\n"
    )


def _cells(row: Row) -> Sequence[str]:
    outcome, audit = row.outcome, row.outcome.audit
    if audit is None:
        return (row.name, *[""] * 8, row.verdict)
    counts = {kind: finding.count for kind, finding in audit.findings.items()}
    explained = audit.duplicates - counts[Kind.DUPLICATE]
    doubled = f"{counts[Kind.DUPLICATE]:,}"
    if explained:
        doubled += f" ({explained:,} explained)"
    corrupt = counts[Kind.CORRUPT] + counts[Kind.EXTRA]
    by_nature = ", ".join(f"{count:,} {reason}" for reason, count in audit.excused.items())
    times = [f"{seconds:.1f}" if seconds is not None else "" for seconds in (outcome.first_s, outcome.drained_s)]
    return (
        row.name,
        f"{audit.lines:,}",
        f"{counts[Kind.MISSING]:,}",
        doubled,
        f"{counts[Kind.REORDERED]:,}",
        f"{corrupt:,}",
        by_nature,
        *times,
        row.verdict,
    )


def _pauses(rows: Sequence[Row]) -> str:
    """How long partitions stood still while a group grew and shrank; nothing when that was not played."""
    found = [(row.name, *row.outcome.paused_s) for row in rows if row.outcome.paused_s]
    heads = ("scenario", "partitions that stayed with their replica", "partitions that moved")
    cells = [(name, f"{stayed_s:.1f} s", f"{moved_s:.1f} s") for name, stayed_s, moved_s in found]
    return _PAUSES_HEAD + _table(heads, cells) if found else ""


def _faults(played: Sequence[Row]) -> Sequence[Sequence[str]]:
    """Every fault of the table, with the verdict of each of its scenarios."""
    verdicts = {row.name: str(row.verdict) for row in played}
    told = {name: f"{name} ({verdicts.get(name, 'not played')})" for name in _ALL}
    return [
        (family, fault, ", ".join(told[name] for name, scenario in _ALL.items() if scenario.fault == fault))
        for family, faults in {**FAULTS, **consumer_table.FAULTS}.items()
        for fault in faults
    ]


def _evidence(row: Row) -> Sequence[str]:
    before, during, after = row.outcome.written
    lines = f"lines before, during, after: {before:,}, {during:,}, {after:,}"
    if row.name == "a_million_lines_with_three_kills":
        lines += f"; played in {row.outcome.took_s - row.outcome.audit_s:.0f} s, audited in {row.outcome.audit_s:.0f} s"
    return row.name, "; ".join([*row.outcome.evidence, lines])


def _found(row: Row) -> Sequence[str]:
    counts = row.outcome.audit.findings if row.outcome.audit else {}
    found = ", ".join(f"{counts[kind].count:,} {kind}" for kind in sorted(row.outcome.red))
    return row.name, row.about, found or row.outcome.not_run or "nothing"


def _not_run(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    table = _table(("scenario", "fault", "why not"), [(row.name, row.about, row.outcome.not_run or "") for row in rows])
    return "## Not run\n\n" + table


def _failures(rows: Sequence[Row]) -> str:
    bad = [row for row in rows if not row.good]
    if not bad:
        return ""
    lines = [f"- {row.name} ({row.verdict}): {_one_line(' '.join(row.problems))}" for row in bad]
    return "## What is not as it has to be\n\n" + "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(_one_line(cell) for cell in line) + " |\n" for line in lines)


def _one_line(text: str) -> str:
    """For a cell: without what Markdown would read as code, a column or a link."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "‹").replace("](", "] (").split())[:600]
