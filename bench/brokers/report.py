"""docs/broker-comparison.md and its charts, made from the samples of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.brokers.advice import advice
from bench.brokers.broker import Candidate, Durability
from bench.brokers.charts import bar_chart, line_chart
from bench.brokers.claims import NEEDS_AWS, judge_all
from bench.brokers.questions import Question
from bench.brokers.rounds import asked, levels
from bench.brokers.samples import Comparison
from bench.contender import Figure
from bench.document import markdown_table
from bench.tables import TextTable

FOLDER = "broker-comparison"
"""Of the charts, beside the document."""
NOT_HERE = "not measured here"
FAILED = "failed"

_HEAD = """\
# Kafka, RabbitMQ, ActiveMQ and AWS SNS, measured
{standing}The samples are in [broker-comparison.json](broker-comparison.json); every table, chart and verdict is made
from them. To repeat it: `make compare WRITE=1` ({duration}), or `make compare QUICK=1` (under 3),
which only prints. Both cores are needed: run nothing else meanwhile.

| | |
|---|---|
{conditions}

## How it is measured
- Every broker is one node, a process of this machine on loopback with its data in a temporary folder on the same disk.
  All run during the whole comparison; those that are not asked are idle. Java heaps are limited to 512 MB.
- One publishing process, and a process for each worker of each group, all Python with uvloop and the client that is
  well kept in that broker's world. Messages are JSON records of nginx lines of about 576 bytes, the same for all, each
  sent and confirmed by itself with at most 200 in flight; a worker acknowledges what it got, at most 100 together.
- A round asks every broker once, in a random order. Cells are medians over the rounds with `(lowest … highest)`; ratios
  are taken within a round. What confirms in Python confirms no faster than Python: the figures compare ways to work,
  and the broker's CPU per message tells more about its limit than the rate.
- **Two durability levels are never compared with each other**: confirmed when the message is in the page cache, which
  survives a killed broker and not a power cut; and confirmed after an fsync. One node has one copy at either level.
- Each run counts what was confirmed against what arrived. A loss without an incident makes a run fail; failed runs are
  listed here: {failures}
- SNS and SQS are asked what they do through a mock. Their throughput is printed as "{needs_aws}".
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """What the chart of a question shows: a figure over its variants, or of its only variant."""

    figure: str
    logarithmic: bool = False
    variants_end_with: str = ""


CHARTS: Mapping[str, Chart] = {
    "throughput": Chart("confirmed_per_s"),
    "sync": Chart("syncs_per_1000"),
    "latency": Chart("p99_ms", logarithmic=True),
    "fanout": Chart("broker_cpu_us"),
    "stored": Chart("disk_bytes_per_message"),
    "workers": Chart("handled_per_s", variants_end_with=", plain"),
    "behaviour": Chart("late_group"),
    "broker-killed": Chart("confirming_again_s"),
    "worker-killed": Chart("slowest_s"),
    "backlog": Chart("rss_mb"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """The document, and the charts by their file names."""

    text: str
    charts: Mapping[str, str]


def make_report(comparison: Comparison, questions: Sequence[Question], candidates: Sequence[Candidate]) -> Report:
    """All of it."""
    charts: dict[str, str] = {}
    sections = [_section(comparison, question, candidates, charts) for question in questions]
    parts = [_head(comparison), _participants(comparison, candidates), *sections, _verdicts(comparison)]
    parts.append(_operating())
    parts.append("## Choose …\n" + "\n".join(f"- {line}" for line in advice(comparison)) + "\n")
    return Report("\n".join(parts), charts)


def _head(comparison: Comparison) -> str:
    conditions = comparison.conditions
    standing = f"Written by `make compare WRITE=1` on {conditions.date}. "
    if comparison.quick:
        standing = f"**From a quick run on {conditions.date}, too coarse to be quoted; to be replaced by a full one.** "
    return _HEAD.format(
        standing=standing,
        duration="under 30 minutes" if comparison.quick else f"about {conditions.elapsed_s / 60:.0f} minutes",
        conditions="\n".join(f"| {name} | {value} |" for name, value in conditions.described().items()),
        failures="; ".join(comparison.failures) or "none.",
        needs_aws=NEEDS_AWS[0],
    )


def _participants(comparison: Comparison, candidates: Sequence[Candidate]) -> str:
    rows = []
    for candidate in candidates:
        missing = comparison.absent.get(candidate.name)
        version = f"{NOT_HERE}; {missing}" if missing else comparison.versions[candidate.name]
        rows.append([candidate.name, version, candidate.durability.value, candidate.settings])
    table = markdown_table(TextTable(["broker", "version", "confirmed by", "settings"], rows))
    return f"## Who takes part\n{table}\n"


def _section(
    comparison: Comparison, question: Question, candidates: Sequence[Candidate], charts: dict[str, str]
) -> str:
    rounds = f"Rounds: {question.repetitions}."
    parts = [f"## {question.title}\n{question.explanation} {rounds}"]
    shown = asked(question, candidates)
    if not question.levels_apart:
        parts += _tables_and_chart(comparison, question, shown, "", charts)
    else:
        for level in levels(shown):
            chosen = [candidate for candidate in shown if candidate.durability is level]
            parts.append(f"### {question.title}: {level.value}")
            parts += _tables_and_chart(comparison, question, chosen, _file_suffix(level), charts)
    if not question.of_mocks_too:
        parts.append(f"SNS and SQS: {NEEDS_AWS[0]}.")
    return "\n\n".join(parts) + "\n"


def _file_suffix(level: Durability) -> str:
    return "-" + level.value.replace(" ", "-")


def _tables_and_chart(
    comparison: Comparison,
    question: Question,
    candidates: Sequence[Candidate],
    suffix: str,
    charts: dict[str, str],
) -> list[str]:
    parts = [markdown_table(figures_table(comparison, question, candidates))]
    if ratios := _ratios(comparison, question, candidates):
        parts.append(markdown_table(ratios))
    name = f"{question.key}{suffix}.svg"
    charts[name] = _chart(comparison, question, candidates, suffix)
    parts.append(f"![{question.title}]({FOLDER}/{name})")
    return parts


def figures_table(comparison: Comparison, question: Question, candidates: Sequence[Candidate]) -> TextTable:
    """A row per figure and variant, a column per candidate."""
    rows = []
    for figure in question.figures:
        for variant in comparison.variants(question.key) or [""]:
            heading = f"{figure.heading}, {_variant(question, variant)}" if variant else figure.heading
            cells = [_cell(comparison, question, variant, candidate, figure) for candidate in candidates]
            rows.append([heading, *cells])
    return TextTable(["", *(candidate.name for candidate in candidates)], rows)


def _variant(question: Question, variant: str) -> str:
    if question.variant_heading == "messages/s":
        return f"at {int(variant):,}/s"
    name = question.variant_heading.removesuffix("s") if variant.split(",")[0] == "1" else question.variant_heading
    count, comma, order = variant.partition(",")
    return f"{count} {name}{comma}{order}"


def _cell(comparison: Comparison, question: Question, variant: str, candidate: Candidate, figure: Figure) -> str:
    if candidate.name in comparison.absent:
        return NOT_HERE
    spread = comparison.spread(question.key, variant, candidate.name, figure.key)
    if spread is not None:
        return spread.text(figure.decimals)
    failed = any(f"{question.title}: {candidate.name}:" in failure for failure in comparison.failures)
    return FAILED if failed else NOT_HERE


def _ratios(comparison: Comparison, question: Question, candidates: Sequence[Candidate]) -> TextTable | None:
    """The first candidate's figures divided by the others', round by round."""
    first, *others = candidates
    rows = []
    for figure in (figure for figure in question.figures if figure.compared):
        for variant in comparison.variants(question.key):
            ratios = [comparison.ratio(question.key, variant, first.name, other.name, figure.key) for other in others]
            heading = f"{figure.heading}, {_variant(question, variant)}" if variant else figure.heading
            rows.append([heading, *(ratio.text(2) if ratio else NOT_HERE for ratio in ratios)])
    return TextTable([f"{first.name} ÷", *(other.name for other in others)], rows) if rows and others else None


def _chart(comparison: Comparison, question: Question, candidates: Sequence[Candidate], suffix: str) -> str:
    chart = CHARTS[question.key]
    figure = next(figure for figure in question.figures if figure.key == chart.figure)
    level = f" ({candidates[0].durability.value})" if suffix else ""
    title = f"{figure.heading}{level}"
    variants = [
        variant for variant in comparison.variants(question.key) if variant.endswith(chart.variants_end_with)
    ] or [""]

    if len(variants) == 1:
        bars = {
            candidate.name: comparison.spread(question.key, variants[0], candidate.name, figure.key)
            for candidate in candidates
        }
        return bar_chart(title, bars, figure.decimals, NOT_HERE)
    lines = {
        candidate.name: [comparison.spread(question.key, variant, candidate.name, figure.key) for variant in variants]
        for candidate in candidates
    }
    names = [variant.removesuffix(chart.variants_end_with) for variant in variants]
    return line_chart(title, question.variant_heading, names, lines, logarithmic=chart.logarithmic)


def _verdicts(comparison: Comparison) -> str:
    rows = [
        [each.claim.aspect, each.claim.system, each.claim.assertion, f"**{each.verdict}**", each.figures]
        for each in judge_all(comparison)
    ]
    table = markdown_table(TextTable(["aspect", "of", "asserted", "measured", "figures"], rows))
    return (
        "## The usual table, row by row\nWhat comparisons of the four assert, and what the figures above say to it. A "
        f"verdict is derived from the medians.\n\n{table}\n"
    )


def _operating() -> str:
    rows = [
        ["Kafka", "a JVM", "jars", "partitions by topic, retention, lag of groups"],
        ["RabbitMQ", "an Erlang node and its port mapper", "package", "queues that grow, memory and disk alarms"],
        ["ActiveMQ", "a JVM", "jars", "store limit, memory limit, journal files that one unread message keeps"],
        [
            "SNS + SQS",
            "nothing",
            "an account",
            "permissions, visibility timeouts, cost, dead-letter queues",
        ],
    ]
    return (
        "## What one must operate\nNot measured: what was needed to run each here, and what has to be watched.\n\n"
        + markdown_table(TextTable(["broker", "processes", "from", "to be watched"], rows))
        + "\n"
    )
