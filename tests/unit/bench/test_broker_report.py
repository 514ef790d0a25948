"""The published comparison is what its samples say, and says what is missing."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from bench.brokers.candidates import all_candidates
from bench.brokers.charts import bar_chart, line_chart
from bench.brokers.claims import CLAIMS, KAFKA, judge_all
from bench.brokers.questions import make_questions
from bench.brokers.report import CHARTS, FOLDER, NOT_HERE, make_report
from bench.brokers.rounds import asked
from bench.brokers.samples import Comparison, Sample, comparison_json, read_comparison
from bench.brokers.sync_calls import sum_of_calls
from bench.machine import Conditions
from bench.summary import Spread

DOCS = Path(__file__).parents[3] / "docs"
VERDICTS = ("agrees", "disagrees", "depends on", "not measured")


def published() -> Comparison:
    return read_comparison((DOCS / "broker-comparison.json").read_text())


def comparison_of(*samples: Sample, absent: dict[str, str] | None = None) -> Comparison:
    versions = {candidate.name: "1" for candidate in all_candidates()}
    return Comparison(
        Conditions("2026-01-01", 60.0, "a machine", 2, {}, 0.0), False, versions, absent or {}, [], samples
    )


def throughput(candidate: str, rate: float, number: int = 0) -> Sample:
    return Sample("throughput", "", candidate, number, 0, {"confirmed_per_s": rate})


def test_the_document_is_made_from_the_samples_beside_it() -> None:
    comparison = published()
    report = make_report(comparison, make_questions(quick=comparison.quick), all_candidates())
    assert (DOCS / "broker-comparison.md").read_text() == report.text
    assert {path.name: path.read_text() for path in (DOCS / FOLDER).iterdir()} == report.charts
    assert comparison_json(comparison) == (DOCS / "broker-comparison.json").read_text()


def test_the_samples_are_of_the_questions_as_they_are() -> None:
    """No round is missing that is not told as failed."""
    comparison = published()
    for question in make_questions(quick=comparison.quick):
        for candidate in asked(question, all_candidates()):
            if candidate.name in comparison.absent or any(candidate.name in told for told in comparison.failures):
                continue
            rounds = {
                sample.round
                for sample in comparison.samples
                if (sample.question, sample.candidate) == (question.key, candidate.name)
            }
            assert rounds == set(range(question.repetitions)), (question.key, candidate.name)


def test_every_question_has_a_chart_of_a_figure_of_its_own() -> None:
    for question in make_questions(quick=False):
        assert CHARTS[question.key].figure in {figure.key for figure in question.figures}


def test_a_broker_that_is_absent_has_its_column_and_the_way_to_get_it() -> None:
    """It is never left out silently."""
    absent = {"RabbitMQ quorum": "on Debian: apt-get install rabbitmq-server"}
    report = make_report(comparison_of(absent=absent), make_questions(quick=False), all_candidates())
    assert f"| RabbitMQ quorum | {NOT_HERE}; on Debian: apt-get install rabbitmq-server | fsync |" in report.text
    assert "|  | Kafka, flush.messages=1 | RabbitMQ quorum | ActiveMQ, sync always |" in report.text


def test_a_mock_is_asked_for_behaviour_alone() -> None:
    mocks = {candidate.name for candidate in all_candidates() if candidate.is_mock}
    assert mocks
    for question in make_questions(quick=False):
        names = {candidate.name for candidate in asked(question, all_candidates())}
        assert (mocks <= names) == (question.key == "behaviour")


def test_levels_of_durability_share_no_table() -> None:
    """Where a figure depends on the level."""
    report = make_report(comparison_of(), make_questions(quick=False), all_candidates())
    for line in report.text.splitlines():
        if line.startswith("|  | "):
            assert not ("Kafka, default" in line and "flush.messages" in line)


def test_ratios_are_taken_within_a_round() -> None:
    rounds = ((100.0, 50.0), (50.0, 25.0))
    samples = [
        throughput(name, rate, number)
        for number, pair in enumerate(rounds)
        for name, rate in zip((KAFKA, "RabbitMQ classic"), pair, strict=True)
    ]
    ratio = comparison_of(*samples).ratio("throughput", "", KAFKA, "RabbitMQ classic", "confirmed_per_s")
    assert ratio == Spread(2.0, 2.0, 2.0)


def test_verdicts_without_figures_are_not_given() -> None:
    verdicts = {each.verdict for each in judge_all(comparison_of())}
    assert verdicts == {"not measured here", "not measured: needs AWS"}


@pytest.mark.parametrize(
    ("kafka", "synced", "verdict"),
    [(9.0, 9.0, "agrees"), (9.0, 1.0, "depends on durability"), (1.0, 1.0, "depends on batching")],
)
def test_a_verdict_follows_from_the_figures(kafka: float, synced: float, verdict: str) -> None:
    rates = {KAFKA: kafka, "Kafka, flush.messages=1": synced, "RabbitMQ classic": 5.0, "RabbitMQ quorum": 5.0}
    judged = judge_all(comparison_of(*(throughput(name, rate) for name, rate in rates.items())))
    [found] = [each for each in judged if (each.claim.aspect, each.claim.system) == ("Throughput", "Kafka")]
    assert found.verdict == verdict
    assert f"{kafka:,.0f}/s" in found.figures


def test_every_cell_of_the_asserted_table_is_judged() -> None:
    judged = judge_all(published())
    assert len(judged) == len(CLAIMS) == 20
    assert all(each.verdict.startswith(VERDICTS) for each in judged)


def test_samples_survive_the_file() -> None:
    comparison = replace(comparison_of(throughput(KAFKA, 1.5)), failures=["a run: it failed"])
    assert comparison_json(read_comparison(comparison_json(comparison))) == comparison_json(comparison)


def test_charts_are_images_with_a_bar_or_a_line_for_everybody() -> None:
    spread = Spread(2.0, 1.0, 4.0)
    bars = bar_chart("rate & more", {"one": spread, "two": None}, 0, NOT_HERE)
    lines = line_chart("rate", "groups", ["1", "2"], {"one": [spread, None], "two": [None, None]}, logarithmic=True)
    for chart in (bars, lines):
        ElementTree.fromstring(chart)
        assert "one" in chart
        assert "two" in chart
    assert NOT_HERE in bars
    assert "two: not measured" in lines


def test_the_calls_of_a_trace_are_added_up() -> None:
    table = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    0.111200         315       352           fdatasync
  1.00    0.000151         151         1         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.163253          46       353         1 total
"""
    assert sum_of_calls(table) == 353
    assert sum_of_calls("") == 0


def test_copies_and_gains_are_those_of_the_first_and_the_last_variant() -> None:
    """Four groups on three times the disk are copies; four workers that handle twice as much are a gain."""
    samples = [
        *(
            Sample("stored", str(groups), KAFKA, 0, 0, {"disk_bytes_per_message": size})
            for groups, size in ((1, 600.0), (4, 1800.0))
        ),
        *(
            Sample("workers", variant, KAFKA, 0, 0, {"handled_per_s": rate})
            for variant, rate in (("1, plain", 200.0), ("4, plain", 400.0), ("4, total", 100.0))
        ),
    ]
    judged = {(each.claim.aspect, each.claim.system): each for each in judge_all(comparison_of(*samples))}
    assert judged["Architecture", "Kafka"].verdict == "disagrees"
    assert "3.0 times" in judged["Architecture", "Kafka"].figures
    assert judged["Scalability", "Kafka"].verdict == "depends on what is scaled"
    assert "4 workers 2.0 times one" in judged["Scalability", "Kafka"].figures
