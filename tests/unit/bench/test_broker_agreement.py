"""Two runs of the comparison, held against each other."""

from __future__ import annotations

import pytest

from bench.brokers.agreement import apart, common_cells, run_before
from bench.brokers.candidates import all_candidates
from bench.brokers.facts import ACTIVE, KAFKA, KAFKA_SYNCED
from bench.brokers.questions import make_questions
from bench.brokers.report import make_report
from bench.summary import Spread
from tests.unit.bench.broker_samples import comparison_of, sampled, throughput

RATE = ("throughput", "", KAFKA, "confirmed_per_s")


def test_ranges_that_share_a_value_agree() -> None:
    now = comparison_of(*throughput(KAFKA, 5.0, 7.0, 9.0))
    assert apart(now, comparison_of(*throughput(KAFKA, 9.0, 11.0, 12.0))) == []
    [found] = apart(now, comparison_of(*throughput(KAFKA, 9.5, 11.0, 12.0)))
    assert (found.cell, found.now, found.before) == (RATE, Spread(7.0, 5.0, 9.0), Spread(11.0, 9.5, 12.0))


@pytest.mark.parametrize(("one", "other", "count"), [(100.0, 76.0, 0), (100.0, 74.0, 1), (74.0, 100.0, 1)])
def test_few_rounds_are_apart_by_more_than_a_quarter(one: float, other: float, count: int) -> None:
    """By their medians: the ranges of two rounds miss each other too often."""
    now, before = ([one - 1, one + 1], [other - 1, other + 1])
    assert len(apart(comparison_of(*throughput(KAFKA, *now)), comparison_of(*throughput(KAFKA, *before)))) == count
    assert len(apart(comparison_of(*throughput(KAFKA, one)), comparison_of(*throughput(KAFKA, *before)))) == count


def test_what_one_run_lacks_is_not_compared_and_neither_are_the_surroundings() -> None:
    busy, idle = ({"foreign_cores": cores} for cores in (1.5, 0.0))
    busy, idle = (one | {"published": one["foreign_cores"]} for one in (busy, idle))
    now = comparison_of(*throughput(KAFKA, 5.0), *throughput(ACTIVE, 5.0), *sampled("fanout", "1", KAFKA, busy))
    before = comparison_of(
        *throughput(KAFKA, 5.0), *throughput(KAFKA_SYNCED, 5.0), *sampled("fanout", "1", KAFKA, idle)
    )
    assert common_cells(now, before) == [RATE]


def test_the_run_before_is_the_full_one_that_was_published_last() -> None:
    now, published, older = (comparison_of(seed=seed) for seed in (3, 2, 1))
    assert run_before(now, published, older) is published
    assert run_before(now, comparison_of(seed=2, quick=True), None) is None
    assert run_before(now, None, None) is None


def test_the_same_run_published_again_keeps_the_one_beside_it() -> None:
    now, older = comparison_of(seed=3), comparison_of(seed=1)
    assert run_before(now, comparison_of(seed=3), older) is older


def test_the_document_says_how_many_figures_are_apart_and_which() -> None:
    now = comparison_of(*throughput(KAFKA, 100.0, 110.0), *throughput(ACTIVE, 5.0, 6.0), seed=3)
    before = comparison_of(*throughput(KAFKA, 200.0, 210.0), *throughput(ACTIVE, 5.5, 7.0), seed=2)
    report = make_report(now, before, make_questions(quick=False), all_candidates())
    section = report.text.partition("## Two runs")[2]
    assert "(seed 3)" in section
    assert "(seed 2;" in section
    assert "Of 2 figures 1 are apart" in " ".join(section.split())
    assert f"| {KAFKA} | confirmed messages/s | 105 (100 … 110) | 205 (200 … 210) |" in section
    assert f"| {ACTIVE} |" not in section


def test_without_a_run_before_the_document_says_what_to_do() -> None:
    report = make_report(comparison_of(), None, make_questions(quick=False), all_candidates())
    assert "`make compare WRITE=1` once more" in report.text.partition("## Two runs")[2]
