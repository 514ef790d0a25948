"""docs/broker-comparison.md and its charts, made from the samples of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.brokers.advice import advice
from bench.brokers.agreement import ROUNDS_OF_A_RANGE, Apart, apart, common_cells
from bench.brokers.broker import Candidate, Durability
from bench.brokers.charts import bar_chart, line_chart
from bench.brokers.claims import NEEDS_AWS, judge_all
from bench.brokers.questions import Question
from bench.brokers.rounds import asked, levels
from bench.brokers.samples import NOT_HERE, Comparison
from bench.contender import Figure
from bench.document import markdown_table
from bench.tables import TextTable

FOLDER = "broker-comparison"
"""Of the charts, beside the document."""
FAILED = "failed"

_HEAD = """\
# Kafka, RabbitMQ, ActiveMQ and AWS SNS, measured
{standing}The samples are in [broker-comparison.json](broker-comparison.json); every table, chart and verdict is made
from them. To repeat it: `make compare WRITE=1` ({duration}), or `make compare QUICK=1` (under 3),
which only prints. Both cores are needed: run nothing else meanwhile. For those in a hurry:
[the usual table, row by row](#the-usual-table-row-by-row), and [what to choose](#choose-).

| | |
|---|---|
{conditions}

## How it is measured
- Every broker is one node, a process of this machine on loopback with its data in a temporary folder on the same disk.
  All run during the whole comparison; those that are not asked are idle, and what they use then counts among the other
  programs. Java heaps are limited to 512 MB.
- One publishing process, and a process for each worker of each group, all Python with uvloop and the client that is
  well kept in that broker's world. Messages are JSON records of nginx lines of about 576 bytes, the same for all, each
  with a confirmation of its own and at most 200 in flight. Clients differ in what they send together: those of logs
  gather while the last request is under way, those of queues send each message by itself. A worker acknowledges what it
  got, at most 100 together, and waits for no answer to that.
- A round asks every broker once, in a random order. Cells are medians over the rounds with `(lowest … highest)`; ratios
  are taken within a round. What confirms in Python confirms no faster than Python: the figures compare ways to work,
  and the broker's CPU per message tells more about its limit than the rate.
- **Two durability levels are never compared with each other**: confirmed when the message is in the page cache, which
  survives a killed broker and not a power cut; and confirmed after an fsync. One node has one copy at either level.
  Where the level plays no part (copies, order, behaviour, memory, what one must operate) a table has one mode of each
  system, and quorum queues, which have no other mode, stand beside the rest.
- Each run counts what was confirmed against what arrived. A loss without an incident makes a run fail; failed runs are
  listed here: {failures}
- A run that measures something after a start, a kill or a backlog has a broker of its own without a past.
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
    "operating": Chart("rss_mb"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """The document, and the charts by their file names."""

    text: str
    charts: Mapping[str, str]


def make_report(
    comparison: Comparison,
    before: Comparison | None,
    questions: Sequence[Question],
    candidates: Sequence[Candidate],
) -> Report:
    """All of it. `before` is the full run before this one."""
    charts: dict[str, str] = {}
    sections = [_section(comparison, question, candidates, charts) for question in questions]
    choices = "## Choose …\n" + "\n".join(f"- {line}" for line in advice(comparison)) + "\n"
    parts = [
        _head(comparison),
        _participants(comparison, candidates),
        *sections,
        _verdicts(comparison, candidates),
        choices,
        _two_runs(comparison, before, questions),
    ]
    return Report("\n".join(parts), charts)


def _head(comparison: Comparison) -> str:
    conditions = comparison.conditions
    standing = f"Written by `make compare WRITE=1` on {conditions.date}. "
    if comparison.quick:
        standing = f"**From a quick run on {conditions.date}, too coarse to be quoted; to be replaced by a full one.** "
    described = conditions.described() | {"disk": comparison.disk.described()}
    return _HEAD.format(
        standing=standing,
        duration="under 30 minutes" if comparison.quick else f"about {conditions.elapsed_s / 60:.0f} minutes",
        conditions="\n".join(f"| {name} | {value} |" for name, value in described.items()),
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
    shown = shown_candidates(comparison, question, candidates)
    if not question.levels_apart:
        parts += _tables_and_chart(comparison, question, shown, "", charts)
    else:
        for level in levels(shown):
            chosen = [candidate for candidate in shown if candidate.durability is level]
            parts.append(f"### {question.title}: {level.value}")
            parts += _tables_and_chart(comparison, question, chosen, _file_suffix(level), charts)
    if notes := _notes(question, candidates):
        parts.append("\n".join(f"- {note}" for note in notes))
    parts += _lacking(comparison, question)
    if not question.of_mocks_too:
        parts.append(f"SNS and SQS: {NEEDS_AWS[0]}.")
    return "\n\n".join(parts) + "\n"


def shown_candidates(
    comparison: Comparison, question: Question, candidates: Sequence[Candidate]
) -> Sequence[Candidate]:
    """Who was asked, and who would have been."""
    present = [candidate for candidate in candidates if candidate.name not in comparison.absent]
    chosen = {candidate.name for candidate in (*asked(question, present), *asked(question, candidates))}
    return [candidate for candidate in candidates if candidate.name in chosen]


def _lacking(comparison: Comparison, question: Question) -> list[str]:
    """What the machine lacked, with the candidates for which it did."""
    names: dict[str, list[str]] = {}
    for name, reason in comparison.unmeasured.get(question.key, {}).items():
        names.setdefault(reason, []).append(name)
    return [f"{NOT_HERE.capitalize()}: {'; '.join(those)}: {reason}." for reason, those in names.items()]


def _notes(question: Question, candidates: Sequence[Candidate]) -> list[str]:
    """What is to be known of each system; once for those of which the same is."""
    systems: dict[str, dict[str, None]] = {}
    for candidate in candidates:
        if note := candidate.notes.get(question.key):
            systems.setdefault(note, {})[candidate.system] = None
    return [f"{', '.join(names)}: {note}." for note, names in systems.items()]


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
            own = (variant, first.name)
            ratios = [comparison.ratio(question.key, figure.key, own, (variant, other.name)) for other in others]
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
    return line_chart(title, question.variant_heading, names, lines, NOT_HERE, logarithmic=chart.logarithmic)


def _verdicts(comparison: Comparison, candidates: Sequence[Candidate]) -> str:
    rows = [
        [each.claim.aspect, each.claim.system, each.claim.assertion, f"**{each.verdict}**", each.figures]
        for each in judge_all(comparison)
    ]
    table = markdown_table(TextTable(["aspect", "of", "asserted", "measured", "figures"], rows))
    newer = dict.fromkeys(f"{candidate.system.split()[0]}: {candidate.how_to_get}" for candidate in candidates)
    return (
        "## The usual table, row by row\nWhat comparisons of the four assert, and what the figures above say to it. A "
        "verdict is derived from the samples: one figure is above another only where their ranges do not touch, and of "
        "what was lost the worst round counts. The verdicts hold for the versions named above, which are those that "
        "could be had here, and for no others.\n\n"
        f"{table}\n\nWhere the brokers come from, and how to measure another version:\n\n"
        + "\n".join(f"- {each}." for each in newer)
        + "\n"
    )


def _two_runs(comparison: Comparison, before: Comparison | None, questions: Sequence[Question]) -> str:
    head = "## Two runs\n"
    if before is None:
        return f"{head}No full run was published before this one: `make compare WRITE=1` once more compares the two.\n"
    cells, found = common_cells(comparison, before), apart(comparison, before)
    told = (
        f"{head}This run of {comparison.conditions.date} (seed {comparison.seed}) beside the full one before it, of "
        f"{before.conditions.date} (seed {before.seed}; its samples: "
        "[broker-comparison-before.json](broker-comparison-before.json)). Apart are figures whose ranges have no value "
        f"in common; of fewer than {ROUNDS_OF_A_RANGE} rounds, those with medians more than a quarter from "
        f"each other. Of {len(cells):,} figures {len(found):,} are apart{':' if found else '.'}\n"
    )
    if not found:
        return told
    known = {question.key: question for question in questions}
    rows = [_apart_row(each, known[each.cell[0]]) for each in found if each.cell[0] in known]
    return f"{told}\n{markdown_table(TextTable(['question', 'of', 'figure', 'now', 'before'], rows))}\n"


def _apart_row(each: Apart, question: Question) -> Sequence[str]:
    _key, variant, candidate, name = each.cell
    figure = next((figure for figure in question.figures if figure.key == name), Figure(name, name, 1))
    heading = f"{figure.heading}, {_variant(question, variant)}" if variant else figure.heading
    decimals = figure.decimals
    return [question.title, candidate, heading, each.now.text(decimals), each.before.text(decimals)]
