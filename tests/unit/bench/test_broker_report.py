"""The published comparison is what its samples say, and says what is missing."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from bench.brokers.broker import IN_FLIGHT, Durability
from bench.brokers.candidates import all_candidates
from bench.brokers.charts import bar_chart, line_chart
from bench.brokers.claims import CLAIMS, judge_all
from bench.brokers.facts import ACTIVE, KAFKA, KAFKA_SYNCED, QUORUM, STREAMS
from bench.brokers.questions import make_questions
from bench.brokers.report import CHARTS, FOLDER, make_report
from bench.brokers.rounds import asked
from bench.brokers.samples import NOT_HERE, Comparison, Sample, comparison_json, read_comparison
from bench.summary import Spread
from tests.unit.bench.broker_samples import comparison_of, throughput

DOCS = Path(__file__).parents[3] / "docs"
VERDICTS = ("agrees", "disagrees", "depends on", "not measured")


def published(name: str = "broker-comparison.json") -> Comparison | None:
    path = DOCS / name
    return read_comparison(path.read_text()) if path.exists() else None


def test_the_document_is_made_from_the_samples_beside_it() -> None:
    comparison, before = published(), published("broker-comparison-before.json")
    assert comparison is not None
    report = make_report(comparison, before, make_questions(quick=comparison.quick), all_candidates())
    assert (DOCS / "broker-comparison.md").read_text() == report.text
    assert {path.name: path.read_text() for path in (DOCS / FOLDER).iterdir()} == report.charts
    assert comparison_json(comparison) == (DOCS / "broker-comparison.json").read_text()
    if before is not None:
        assert not before.quick
        assert comparison_json(before) == (DOCS / "broker-comparison-before.json").read_text()


def test_the_samples_are_of_the_questions_as_they_are() -> None:
    """No round of any variant is missing that is not told as failed, as absent, or as lacking something."""
    comparison = published()
    assert comparison is not None
    for question in make_questions(quick=comparison.quick):
        for candidate in asked(question, all_candidates()):
            failed = any(told.startswith(f"{question.title}: {candidate.name}:") for told in comparison.failures)
            lacking = comparison.unmeasured.get(question.key, {})
            if candidate.name in comparison.absent or failed or candidate.name in lacking:
                continue
            variants = comparison.variants(question.key)
            assert variants, question.key
            for variant in variants:
                rounds = [
                    sample.round
                    for sample in comparison.samples
                    if (sample.question, sample.variant, sample.candidate) == (question.key, variant, candidate.name)
                ]
                assert sorted(rounds) == list(range(question.repetitions)), (question.key, variant, candidate.name)


def test_every_question_has_a_chart_of_a_figure_of_its_own() -> None:
    for question in make_questions(quick=False):
        assert CHARTS[question.key].figure in {figure.key for figure in question.figures}


def test_a_broker_that_is_absent_has_its_column_and_the_way_to_get_it() -> None:
    """It is never left out silently."""
    absent = {"RabbitMQ quorum": "on Debian: apt-get install rabbitmq-server"}
    report = make_report(comparison_of(absent=absent), None, make_questions(quick=False), all_candidates())
    assert f"| RabbitMQ quorum | {NOT_HERE}; on Debian: apt-get install rabbitmq-server | fsync |" in report.text
    assert "|  | Kafka, flush.messages=1 | RabbitMQ quorum | ActiveMQ, sync always |" in report.text


def test_who_answered_for_an_absent_mode_has_a_column_beside_it() -> None:
    absent = {KAFKA: "its jars are not there"}
    report = make_report(comparison_of(absent=absent), None, make_questions(quick=False), all_candidates())
    section = report.text.partition("## What a backlog costs")[2].partition("\n## ")[0]
    assert f"|  | {KAFKA} | {KAFKA_SYNCED} | {STREAMS} |" in section


def test_the_published_levels_of_durability_are_what_was_seen() -> None:
    """Confirmed after an fsync: at least one for all that may be in flight; before it: fewer than that."""
    comparison = published()
    assert comparison is not None
    if comparison.quick or "sync" in comparison.unmeasured:
        return
    for candidate in asked(next(each for each in make_questions(quick=False) if each.key == "sync"), all_candidates()):
        found = comparison.spread("sync", "", candidate.name, "syncs_per_1000")
        assert found is not None
        assert (found.lowest >= 1_000 / IN_FLIGHT) == (candidate.durability is Durability.DISK), candidate.name


def test_what_a_machine_lacks_is_said_with_the_way_to_get_it() -> None:
    reason = "there is no strace; on Debian: apt-get install strace"
    lacking = comparison_of(unmeasured={"sync": {KAFKA: reason, QUORUM: reason, ACTIVE: "it ended"}})
    report = make_report(lacking, None, make_questions(quick=False), all_candidates())
    section = report.text.partition("## What a confirmation means")[2].partition("\n## ")[0]
    assert f"Not measured here: {KAFKA}; {QUORUM}: {reason}." in section
    assert f"Not measured here: {ACTIVE}: it ended." in section


def test_a_failure_is_told_in_its_cell_and_by_its_kind_alone() -> None:
    told = "How many messages a second, confirmed: Kafka, default: BenchmarkFailed"
    failed = replace(comparison_of(), failures=[told])
    report = make_report(failed, None, make_questions(quick=False), all_candidates())
    assert told in report.text
    assert "| confirmed messages/s | failed | not measured here |" in report.text


def test_a_mock_is_asked_for_behaviour_alone() -> None:
    mocks = {candidate.name for candidate in all_candidates() if candidate.is_mock}
    assert mocks
    for question in make_questions(quick=False):
        names = {candidate.name for candidate in asked(question, all_candidates())}
        assert (mocks <= names) == (question.key == "behaviour")


def test_levels_of_durability_share_no_table() -> None:
    """Where a figure depends on the level."""
    report = make_report(comparison_of(), None, make_questions(quick=False), all_candidates())
    for line in report.text.splitlines():
        if line.startswith("|  | "):
            assert not ("Kafka, default" in line and "flush.messages" in line)


def test_a_mode_that_confirms_before_its_level_says_so_in_every_table_of_it() -> None:
    report = make_report(comparison_of(), None, make_questions(quick=False), all_candidates())
    assert "journalDiskSyncStrategy=never (confirmed before the page cache" in report.text
    assert report.text.count("weaker than the others of its table") == 3


def test_notes_are_those_of_questions_that_exist() -> None:
    keys = {question.key for question in make_questions(quick=False)}
    for candidate in all_candidates():
        assert set(candidate.notes) <= keys, candidate.name


def test_every_cell_of_the_asserted_table_is_judged() -> None:
    comparison = published()
    assert comparison is not None
    judged = judge_all(comparison)
    assert len(judged) == len(CLAIMS) == 20
    assert all(each.verdict.startswith(VERDICTS) for each in judged)


def test_samples_survive_the_file() -> None:
    comparison = replace(comparison_of(*throughput(KAFKA, 1.5)), failures=["a run: it failed"])
    assert read_comparison(comparison_json(comparison)) == replace(comparison, samples=[*comparison.samples])


def test_ratios_are_taken_over_the_rounds_that_both_have() -> None:
    """A round that failed for one of them takes no other round with it."""
    other = "RabbitMQ classic"
    samples = [*throughput(KAFKA, 100.0, 50.0, 30.0), *throughput(other, 50.0, 25.0)]
    second_round_only = [Sample("throughput", "", "ActiveMQ, sync never", 1, 0, {"confirmed_per_s": 5.0})]
    comparison = comparison_of(*samples, *second_round_only)

    def ratio(name: str) -> Spread | None:
        return comparison.ratio("throughput", "confirmed_per_s", ("", KAFKA), ("", name))

    assert ratio(other) == Spread(2.0, 2.0, 2.0)
    assert ratio("ActiveMQ, sync never") == Spread(10.0, 10.0, 10.0)
    assert ratio("RabbitMQ quorum") is None


def test_charts_are_images_with_a_bar_or_a_line_for_everybody() -> None:
    spread = Spread(2.0, 1.0, 4.0)
    bars = bar_chart("rate & more", {"one": spread, "two": None}, 0, NOT_HERE)
    pair: dict[str, list[Spread | None]] = {"one": [spread, None], "two": [None, None]}
    lines = line_chart("rate", "groups", ["1", "2"], pair, NOT_HERE, logarithmic=True)
    for chart in (bars, lines):
        ElementTree.fromstring(chart)
        assert "one" in chart
        assert "two" in chart
    assert NOT_HERE in bars
    assert f"two: {NOT_HERE}" in lines
