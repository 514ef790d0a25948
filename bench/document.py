"""docs/benchmarks.md, made from the samples of a run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.machine import Conditions
from bench.rounds import SuiteResult
from bench.tables import TextTable, figures_table, ratios_table

_HEAD = """\
# Benchmarks
Written by `make bench WRITE=1` on {date}; the samples are in [benchmarks.json](benchmarks.json). To repeat it:
`make bench` (about {minutes:.0f} minutes) or `make bench QUICK=1` (about 2); both only print, and leave the samples in
`.run/benchmarks.json`. Nothing but Python and make is needed: a real broker is started for the run, on free ports, in a
temporary folder.

| | |
|---|---|
{conditions}

## How to read it
- Every contender runs as a process of its own against the same broker, and has to prove its work: after a producer the
  end offsets of the topic must have risen by the lines, a consumer has to count every record as a valid model. A run
  that falls short ends the benchmark.
- A round runs every contender once, in a random order; a first round warms up and is not counted. Cells are medians
  over the rounds with `(lowest … highest)`.
- **Ratios are ours divided by theirs within a round**, then the median of the rounds. Absolute figures hold for this
  machine at that hour only; ratios carry over better, within their range. For rates above 1 is better for us; for CPU,
  memory and latency below 1 is.
- The broker shares the cores with the contender, and *cores busy with other programs* tells what else ran meanwhile:
  {foreign} of {cores} cores in the median of all runs. Where that is not near 0, rates are too low and CPU per line is
  too high, because busy neighbours share caches and execution units. The broker's CPU falls from round to round while
  its JVM compiles.
- The log: {lines:,} combined lines of about 247 bytes from 20,000 clients, every second path a new one. Peers get our
  parser, our allocator settings and no callback per record; what they leave out (checkpoint, delivery reports, dead
  letters, metrics, health) ours has.
"""


def markdown(results: Sequence[SuiteResult], conditions: Conditions) -> str:
    """The text of docs/benchmarks.md."""
    head = _HEAD.format(
        date=conditions.date,
        minutes=conditions.elapsed_s / 60,
        conditions="\n".join(f"| {name} | {value} |" for name, value in conditions.described().items()),
        foreign=f"{conditions.foreign_cores:.1f}",
        cores=conditions.cores,
        lines=results[0].suite.size,
    )
    return "\n".join([head, *(_section(result) for result in results)])


def _section(result: SuiteResult) -> str:
    suite = result.suite
    rounds = f"Rounds: {suite.repetitions}{', after one to warm up' if suite.warm_up_size else ''}."
    tables = [markdown_table(figures_table(result))]
    if ratios := ratios_table(result):
        tables.append(markdown_table(ratios))
    return "\n\n".join([f"## {suite.title}\n{suite.explanation} {rounds}", *tables]) + "\n"


def markdown_table(table: TextTable) -> str:
    """As Markdown has tables."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
