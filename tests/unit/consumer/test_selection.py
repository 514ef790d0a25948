"""Which records of a batch go to the sink."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from services.consumer.choose import TELL_INTERVAL_S, Chooser
from services.consumer.decode import decode
from services.consumer.metrics import Metrics
from services.consumer.selection import Selector, place_in_sample
from services.consumer.settings import ConsumerSettings
from services.consumer.tools import Tools
from services.consumer.where import Where
from shared.kafka.records import RecordBatch
from shared.schemas.headers import REPLAY_FOR_HEADER, REPLAY_HEADER
from tests.unit.consumer.records import TOPIC, Received, batch, value


def test_without_settings_the_batch_is_the_same() -> None:
    one = batch(0, 5)
    assert Selector(None, 1.0).select(one).batch is one


def test_the_offsets_of_what_is_left_out_are_covered() -> None:
    selected = Selector(Where("source.offset % 2 == 0"), 1.0).select(batch(10, 5))
    assert list(selected.batch.offsets) == [10, 12, 14]
    assert [record.source.offset for record in selected.batch.records] == [10, 12, 14]
    assert (selected.batch.first_offset, selected.batch.next_offset) == (10, 15)
    assert selected.skipped == {"where": 2}


def test_a_record_that_where_cannot_be_asked_about_does_not_match() -> None:
    selected = Selector(Where("query.startswith('a') or status == 200"), 1.0).select(batch(0, 3))
    assert not selected.batch.records
    assert (selected.skipped, selected.failed) == ({"where": 3}, 3)
    assert "query" in selected.failure or "NoneType" in selected.failure


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5, 0.99])
def test_a_sample_is_the_share_that_was_asked_for(ratio: float) -> None:
    """Four standard deviations of 4,000 draws on either side."""
    count = 4000
    taken = len(Selector(None, ratio).select(batch(0, count)).batch.records)
    assert abs(taken - count * ratio) < 4 * (count * ratio * (1 - ratio)) ** 0.5


def test_a_sample_is_the_same_for_everybody_and_part_of_a_larger_one() -> None:
    def sampled(ratio: float, partition: int = 3) -> set[int]:
        return set(Selector(None, ratio).select(batch(0, 1000, partition)).batch.offsets)

    assert sampled(0.1) == sampled(0.1, partition=5)
    assert sampled(0.1) < sampled(0.3)


def test_the_sample_depends_on_file_and_place_alone() -> None:
    """These numbers must not change: a record that is read again after an upgrade would change sides."""
    record = batch(42, 1).records[0]
    assert place_in_sample(record) == place_in_sample(record.model_copy(update={"path": "/other", "status": 500}))
    other = record.model_copy(update={"source": record.source.model_copy(update={"generation": "h"})})
    assert place_in_sample(record) != place_in_sample(other)
    assert place_in_sample(record) == 16560638084093713080


def test_a_record_that_was_sent_again_for_another_group_is_passed_over() -> None:
    theirs = ((REPLAY_HEADER, b"run"), (REPLAY_FOR_HEADER, b"other"))
    ours = ((REPLAY_HEADER, b"run"), (REPLAY_FOR_HEADER, b"group"))
    everybodys = ((REPLAY_HEADER, b"run"),)
    records = [
        Received(0, value(0)),
        Received(1, value(1), headers=theirs),
        Received(2, value(2), headers=ours),
        Received(3, value(3), headers=everybodys),
        Received(4, b"no record", headers=theirs),
    ]
    decoded = decode(RecordBatch(TOPIC, 3, records, 10), "group", "service")
    assert list(decoded.offsets) == [0, 2, 3]
    assert [tuple(headers) for headers in decoded.headers] == [(), ours, everybodys]
    assert not decoded.rejects, "what is another group's to reject is not rejected here"
    assert (decoded.first_offset, decoded.next_offset) == (0, 5)
    assert Selector(None, 1.0).select(decoded).skipped == {"other_group": 2}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def chooser_of(clock: Clock, registry: CollectorRegistry, **settings: Any) -> Chooser:
    class Parts:
        metrics = Metrics(registry, "group", TOPIC)
        log = structlog.get_logger()

    return Chooser(ConsumerSettings(service_name="test", **settings), cast(Tools, Parts()), clock)


def test_what_is_left_out_is_counted() -> None:
    registry = CollectorRegistry()
    chooser = chooser_of(Clock(), registry, where="status == 500", sample_ratio=0.5)
    one = replace(batch(0, 100), other_group_count=3)
    assert not chooser.choose(one).records
    counted = generate_latest(registry).decode()
    found = {
        reason: float(line.rpartition(" ")[2])
        for reason in ("where", "sample", "other_group")
        for line in counted.splitlines()
        if line.startswith("nginx_pipeline_consumer_records_skipped_total") and f'reason="{reason}"' in line
    }
    assert found["where"] + found["sample"] == 100
    assert min(found["where"], found["sample"]) > 20
    assert found["other_group"] == 3


def test_a_filter_that_fails_is_told_once_a_minute() -> None:
    registry, clock = CollectorRegistry(), Clock()
    chooser = chooser_of(clock, registry, where="query.startswith('a')")
    with capture_logs() as told:
        for _batch in range(3):
            chooser.choose(batch(0, 5))
        assert [(line["event"], line["count"]) for line in told] == [("filter_failed", 5)]
        clock.now += TELL_INTERVAL_S
        chooser.choose(batch(0, 5))
        assert [line["count"] for line in told] == [5, 15]
    assert 'records_filter_failed_total{consumergroup="group",partition="3",topic="nginx_logs"} 20.0' in (
        generate_latest(registry).decode()
    )
