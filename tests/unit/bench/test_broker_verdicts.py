"""Verdicts and advice follow from the figures, and from nothing where ranges overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from bench.brokers.advice import LINES, advice
from bench.brokers.claims import BY_WORKERS, ONE_NODE, OVERLAP, PYTHON, Judged, judge_all
from bench.brokers.facts import (
    ACTIVE,
    ACTIVE_SYNCED,
    CLASSIC,
    KAFKA,
    KAFKA_SYNCED,
    MOCK,
    QUORUM,
    STREAMS,
    above,
    is_first,
    is_last,
    reaches,
)
from bench.brokers.samples import NOT_HERE, Comparison, Sample
from bench.summary import Spread
from tests.unit.bench.broker_samples import comparison_of, sampled, throughput

LOW, MIDDLE, HIGH = Spread(2.0, 1.0, 3.0), Spread(3.0, 2.5, 4.5), Spread(6.0, 5.0, 7.0)


def judged(comparison: Comparison, aspect: str, system: str) -> Judged:
    [found] = [each for each in judge_all(comparison) if (each.claim.aspect, each.claim.system) == (aspect, system)]
    return found


def rates(**by_name: Sequence[float]) -> list[Sample]:
    names = {
        "kafka": KAFKA,
        "synced": KAFKA_SYNCED,
        "streams": STREAMS,
        "classic": CLASSIC,
        "quorum": QUORUM,
        "active": ACTIVE,
        "active_synced": ACTIVE_SYNCED,
    }
    return [sample for name, values in by_name.items() for sample in throughput(names[name], *values)]


def workers(candidate: str, variant: str, **figures: float) -> list[Sample]:
    return sampled("workers", variant, candidate, figures)


def test_one_is_above_another_where_the_ranges_do_not_touch() -> None:
    assert above(HIGH, MIDDLE)
    assert not above(MIDDLE, LOW)
    assert not above(LOW, MIDDLE)


def test_a_limit_is_reached_in_every_round_in_none_or_it_cannot_be_told() -> None:
    assert reaches(HIGH, 5.0) is True
    assert reaches(LOW, 5.0) is False
    assert reaches(MIDDLE, 3.0) is None


def test_the_first_is_above_all_and_the_last_below_all() -> None:
    assert is_first(HIGH, [LOW, MIDDLE]) is True
    assert is_first(LOW, [MIDDLE, HIGH]) is False
    assert is_first(MIDDLE, [LOW]) is None
    assert is_last(LOW, [HIGH]) is True
    assert is_last(HIGH, [LOW]) is False
    assert is_last(LOW, [MIDDLE, HIGH]) is None


def test_verdicts_without_figures_are_not_given() -> None:
    verdicts = {each.verdict for each in judge_all(comparison_of())}
    assert verdicts == {NOT_HERE, "not measured: needs AWS"}


@pytest.mark.parametrize(
    ("kafka", "synced", "verdict"),
    [
        ([9.0], [9.0], f"agrees ({PYTHON})"),
        ([9.0], [1.0], "depends on durability"),
        ([1.0], [1.0], f"disagrees ({PYTHON})"),
        ([4.0, 9.0], [9.0], OVERLAP),
        ([9.0], [5.0], OVERLAP),
    ],
)
def test_kafka_is_the_fastest_at_both_levels_at_one_or_at_none(
    kafka: Sequence[float], synced: Sequence[float], verdict: str
) -> None:
    samples = rates(kafka=kafka, synced=synced, classic=[5.0], quorum=[5.0])
    found = judged(comparison_of(*samples), "Throughput", "Kafka")
    assert found.verdict == verdict
    assert f"{Spread.of(kafka).text(0)}/s" in found.figures


@pytest.mark.parametrize(
    ("streams", "classic", "quorum", "verdict"),
    [
        (5.0, 5.0, 5.0, f"agrees ({PYTHON})"),
        (9.0, 5.0, 5.0, "depends on the kind of queue"),
        (9.0, 9.0, 9.0, f"disagrees ({PYTHON})"),
        (7.0, 5.0, 5.0, OVERLAP),
    ],
)
def test_rabbitmq_is_judged_against_the_other_systems_of_each_level(
    streams: float, classic: float, quorum: float, verdict: str
) -> None:
    """Kinds that confirm at different levels are never held against each other."""
    others = rates(kafka=[7.0], synced=[7.0], active=[3.0], active_synced=[3.0])
    own = rates(streams=[streams], classic=[classic], quorum=[quorum])
    assert judged(comparison_of(*others, *own), "Throughput", "RabbitMQ").verdict == verdict


@pytest.mark.parametrize(
    ("active", "synced", "verdict"),
    [([1.0], [1.0], f"agrees ({PYTHON})"), ([1.0], [9.0], "depends on durability"), ([1.0, 6.0], [1.0], OVERLAP)],
)
def test_activemq_is_the_lowest_at_both_levels_or_not(
    active: Sequence[float], synced: Sequence[float], verdict: str
) -> None:
    samples = rates(kafka=[5.0], synced=[5.0], active=active, active_synced=synced)
    assert judged(comparison_of(*samples), "Throughput", "ActiveMQ").verdict == verdict


@pytest.mark.parametrize(
    ("candidates", "system", "gain", "verdict"),
    [
        ([KAFKA], "Kafka", 3.0, BY_WORKERS),
        ([KAFKA], "Kafka", 1.0, f"disagrees ({ONE_NODE})"),
        ([CLASSIC, QUORUM], "RabbitMQ", 3.0, BY_WORKERS),
        ([CLASSIC, QUORUM], "RabbitMQ", 1.0, f"agrees ({ONE_NODE})"),
        ([ACTIVE], "ActiveMQ", 3.0, BY_WORKERS),
        ([ACTIVE], "ActiveMQ", 1.0, f"agrees ({ONE_NODE})"),
    ],
)
def test_a_gain_by_workers_says_nothing_of_nodes(
    candidates: Sequence[str], system: str, gain: float, verdict: str
) -> None:
    samples = [
        sample
        for candidate in candidates
        for variant, rate in (("1, plain", 200.0), ("4, plain", 200.0 * gain), ("4, total", 100.0))
        for sample in workers(candidate, variant, handled_per_s=rate)
    ]
    found = judged(comparison_of(*samples), "Scalability", system)
    assert found.verdict == verdict
    assert f"4 workers {gain:.1f} times one" in found.figures


@pytest.mark.parametrize(
    ("sizes", "verdict"), [((1800.0, 1900.0), "disagrees"), ((650.0, 660.0), "agrees"), ((650.0, 1900.0), OVERLAP)]
)
def test_one_copy_is_about_the_disk_of_one_group(sizes: Sequence[float], verdict: str) -> None:
    one = sampled("stored", "1", KAFKA, *({"disk_bytes_per_message": 600.0} for _ in sizes))
    most = sampled("stored", "4", KAFKA, *({"disk_bytes_per_message": size} for size in sizes))
    assert judged(comparison_of(*one, *most), "Architecture", "Kafka").verdict == verdict


def order(candidate: str, *, plain_within_key: float, keyed: float = 0.0) -> list[Sample]:
    return [
        *workers(candidate, "4, plain", late_percent=50.0, late_within_key_percent=plain_within_key),
        *workers(candidate, "4, keyed", late_percent=50.0, late_within_key_percent=keyed),
        *workers(candidate, "4, total", late_percent=0.0, late_within_key_percent=0.0),
    ]


@pytest.mark.parametrize(
    ("candidates", "system", "verdict"),
    [
        ([KAFKA], "Kafka", "agrees"),
        ([CLASSIC, QUORUM], "RabbitMQ", "depends on the number of workers"),
        ([ACTIVE], "ActiveMQ", "depends on the number of workers"),
    ],
)
def test_order_within_a_key_needs_a_control_that_mixes(candidates: Sequence[str], system: str, verdict: str) -> None:
    mixed = [sample for name in candidates for sample in order(name, plain_within_key=7.0)]
    assert judged(comparison_of(*mixed), "Ordering", system).verdict == verdict
    in_order = [sample for name in candidates for sample in order(name, plain_within_key=0.0)]
    found = judged(comparison_of(*in_order), "Ordering", system)
    if system == "Kafka":
        assert (found.verdict, found.figures) == (NOT_HERE, "missing: plain mixes nothing up within a key either")
    else:
        assert found.verdict == verdict  # by the order of all messages
        assert "within a key not told: plain mixes nothing up within a key either" in found.figures


def test_one_late_message_within_a_key_is_no_order() -> None:
    samples = order(KAFKA, plain_within_key=7.0, keyed=0.1)
    assert judged(comparison_of(*samples), "Ordering", "Kafka").verdict == "disagrees"


@pytest.mark.parametrize(
    ("plain", "fifo", "verdict"),
    [(9, 0, "agrees (of the mock)"), (9, 1, "disagrees (of the mock)"), (0, 0, "not measured: needs AWS")],
)
def test_a_mock_is_asked_for_its_order_with_the_caveat(plain: float, fifo: float, verdict: str) -> None:
    samples = sampled("behaviour", "", MOCK, {"late_plain": plain, "late_ordered": fifo})
    found = judged(comparison_of(*samples), "Ordering", "AWS SNS")
    assert found.verdict == verdict
    assert "a mock can look more ordered than SQS is" in found.figures


def kept(lost: Mapping[str, Sequence[float]], late_groups: Mapping[str, float], syncs: Sequence[float]) -> Comparison:
    losses = [
        sample
        for name, rounds in lost.items()
        for sample in sampled("broker-killed", "", name, *({"lost": count} for count in rounds))
    ]
    behaviours = [
        sample
        for name, seen in late_groups.items()
        for sample in sampled("behaviour", "", name, {"published": 50.0, "late_group": seen, "replayed": seen})
    ]
    traced = [
        sample
        for name, count in zip((KAFKA, KAFKA_SYNCED), syncs, strict=True)
        for sample in sampled("sync", "", name, {"syncs_per_1000": count})
    ]
    return comparison_of(*losses, *behaviours, *traced)


@pytest.mark.parametrize(
    ("lost", "syncs", "verdict"),
    [
        ([0.0, 0.0, 0.0], (1.0, 900.0), "depends on what is to be survived"),
        ([0.0, 0.0, 0.0], (900.0, 900.0), "agrees"),
        ([0.0, 0.0, 1.0], (900.0, 900.0), "disagrees"),
    ],
)
def test_the_worst_round_counts_for_what_is_lost(lost: Sequence[float], syncs: Sequence[float], verdict: str) -> None:
    comparison = kept({KAFKA: lost, KAFKA_SYNCED: [0.0]}, {KAFKA: 50.0}, syncs)
    assert judged(comparison, "Persistence", "Kafka").verdict == verdict


@pytest.mark.parametrize(
    ("never", "always", "verdict"),
    [
        ([0.0], [0.0], "agrees"),
        ([0.0, 3.0], [0.0], "depends on journalDiskSyncStrategy"),
        ([3.0], [0.0, 1.0], "disagrees"),
    ],
)
def test_activemq_keeps_what_it_confirmed_in_both_modes_or_in_one(
    never: Sequence[float], always: Sequence[float], verdict: str
) -> None:
    comparison = kept({ACTIVE: never, ACTIVE_SYNCED: always}, {ACTIVE: 0.0}, (0.0, 0.0))
    assert judged(comparison, "Persistence", "ActiveMQ").verdict == verdict


@pytest.mark.parametrize(
    ("classic_lost", "streams_seen", "verdict"),
    [(0.0, 50.0, "depends on the kind of queue"), (0.0, 0.0, "agrees"), (2.0, 0.0, "depends on the kind of queue")],
)
def test_what_rabbitmq_keeps_is_by_kind(classic_lost: float, streams_seen: float, verdict: str) -> None:
    lost = {CLASSIC: [0.0, classic_lost], QUORUM: [0.0], STREAMS: [0.0]}
    comparison = kept(lost, {CLASSIC: 0.0, QUORUM: 0.0, STREAMS: streams_seen}, (0.0, 0.0))
    assert judged(comparison, "Persistence", "RabbitMQ").verdict == verdict


def test_advice_has_ten_lines_and_says_where_figures_are_missing() -> None:
    lines = advice(comparison_of())
    assert len(lines) == len(LINES) == 10
    assert all(f": {NOT_HERE}; " in line for line in lines)


@pytest.mark.parametrize(("lost", "start"), [(0.0, "**RabbitMQ quorum"), (1.0, "Not **RabbitMQ quorum")])
def test_advice_hangs_on_figures(lost: float, start: str) -> None:
    samples = [*rates(quorum=[5.0]), *sampled("broker-killed", "", QUORUM, {"lost": 0.0}, {"lost": lost})]
    [line] = [line for line in advice(comparison_of(*samples)) if "RabbitMQ quorum" in line]
    assert line.startswith(start)
    assert f"lost by SIGKILL of the broker: {lost:.0f}" in line
