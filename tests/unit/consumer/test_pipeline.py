"""What belongs to which assignment, on a reader that answers late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import cast

import pytest
import structlog
from prometheus_client import CollectorRegistry

from services.consumer.dead_letters import DeadLetterQueue
from services.consumer.decode import DecodedBatch
from services.consumer.metrics import Metrics
from services.consumer.pipeline import Pipeline, Tools
from services.consumer.readiness import Readiness
from services.consumer.settings import ConsumerSettings
from shared.backoff import Backoff
from shared.errors import BrokerUnavailable, FatalError, OwnershipLost, RetryableError, SinkUnavailable
from shared.kafka.consumer import GroupReader
from shared.kafka.records import Polled, RecordBatch
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from tests.unit.consumer.records import TOPIC, received, value


class Reader:
    """A membership whose polls and commits are given by the test."""

    def __init__(self) -> None:
        self.assigned: frozenset[int] = frozenset()
        self.polls: list[Polled] = []
        self.commits: list[dict[int, int]] = []
        self.on_commit: Callable[[], Awaitable[None]] | None = None
        self.committed_before: dict[int, int] = {}
        self.first_kept: int | None = None  # None: the broker does not answer

    async def poll(self, _max_records: int, _timeout_s: float) -> Polled:
        return self.polls.pop(0)

    async def committed(self, partitions: Collection[int], _timeout_s: float) -> dict[int, int | None]:
        return {partition: self.committed_before.get(partition) for partition in partitions}

    async def first_offsets(self, partitions: Collection[int], _timeout_s: float) -> dict[int, int]:
        if self.first_kept is None:
            raise BrokerUnavailable("no answer")
        return dict.fromkeys(partitions, self.first_kept)

    async def commit(self, next_offsets: Mapping[int, int], _timeout_s: float) -> None:
        if self.on_commit is not None:
            await self.on_commit()
        self.commits.append(dict(next_offsets))

    async def stop(self) -> None:
        """Nothing to do."""


class Taking:
    """A sink that takes everything; `on_write` is awaited before it does."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []
        self.forgotten: list[int] = []
        self.on_write: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Nothing to do."""

    async def write(self, batch: DecodedBatch) -> None:
        if self.on_write is not None:
            await self.on_write()
        self.taken += [(batch.partition, offset) for offset in batch.offsets]

    async def flush(self) -> None:
        """Nothing to do."""

    def forget(self, partitions: Collection[int]) -> None:
        self.forgotten += partitions

    async def close(self) -> None:
        """Nothing to do."""


class Bench:
    """A pipeline with its reader and sink."""

    def __init__(self) -> None:
        settings = ConsumerSettings(service_name="test", commit_interval_ms=1)
        self.health = Health(time.monotonic, 60.0)
        self.metrics = Metrics(CollectorRegistry(), "test", TOPIC)
        self.reader, self.sink, self.shutdown = Reader(), Taking(), Shutdown()
        self.readiness = Readiness(self.health, structlog.get_logger(), time.monotonic, self.metrics.error)
        backoff = Backoff(0.001, 0.001, lambda: 1.0)
        dead_letters = DeadLetterQueue(settings, self.readiness, self.health, backoff, self.shutdown)
        tools = Tools(
            self.sink,
            dead_letters,
            self.readiness,
            self.health,
            self.metrics,
            structlog.get_logger(),
            backoff,
            self.shutdown,
        )
        self.pipeline = Pipeline(settings, tools)
        self.pipeline._reader = cast(GroupReader, self.reader)

    async def assign(self, *partitions: int) -> None:
        self.reader.assigned = frozenset(partitions)
        await self.pipeline.on_assigned(self.reader.assigned)

    async def reassign(self, *partitions: int) -> None:
        """As after a revocation that ran out of time: what is in flight goes on."""
        self.pipeline._release(list(self.pipeline.owned))
        await self.assign(*partitions)

    async def work(self, *batches: RecordBatch, read_to: Mapping[int, int] | None = None) -> None:
        """One poll that brings these; without `read_to`, no offsets lie behind them."""
        ends = {batch.partition: batch.next_offset for batch in batches}
        self.reader.polls.append(Polled(batches, ends if read_to is None else read_to))
        await asyncio.sleep(0.002)  # a commit is due
        await self.pipeline.work()

    async def tell_missing(self) -> None:
        await self.pipeline.tell_missing(cast(GroupReader, self.reader))


def records(first: int, count: int, partition: int = 3) -> RecordBatch:
    return received([value(number) for number in range(first, first + count)], first, partition)


async def lose() -> None:
    raise OwnershipLost("the group moved on")


async def test_a_commit_that_is_refused_late_leaves_the_next_assignment_alone() -> None:
    """The answer to a commit of the older assignment comes after the next one has begun."""
    bench = Bench()
    await bench.assign(3)

    async def reassigned_meanwhile() -> None:
        await bench.reassign(3, 4)
        await lose()

    bench.reader.on_commit = reassigned_meanwhile
    await bench.work(records(0, 5))
    bench.reader.on_commit = None
    assert set(bench.pipeline.owned) == {3, 4}
    await bench.work(records(0, 5))
    assert bench.reader.commits == [{3: 5}]
    assert bench.health.ready


async def test_what_the_group_took_away_is_let_go_and_not_called_ready() -> None:
    bench = Bench()
    await bench.assign(3)
    bench.reader.on_commit = lose
    await bench.work(records(0, 5))
    assert not bench.pipeline.owned
    assert bench.sink.forgotten == [3]
    assert bench.health.not_ready_because == "group: the group gave the partitions away"
    await bench.work(records(5, 5))
    assert len(bench.sink.taken) == 5, "what comes after the loss is another member's"
    await bench.assign(3)
    assert bench.health.ready


async def test_records_that_would_be_dropped_for_good_replace_the_reader() -> None:
    bench = Bench()
    await bench.assign(3, 4)
    bench.pipeline._release([3])
    with pytest.raises(RetryableError, match=r"partitions \[3\] arrive"):
        await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    await bench.work(records(0, 5, partition=4))


async def test_a_loss_that_no_assignment_follows_replaces_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    await bench.assign(3)
    bench.reader.on_commit = lose
    await bench.work(records(0, 5))
    monkeypatch.setattr("services.consumer.pipeline.LOST_GRACE_S", 0.0)
    with pytest.raises(RetryableError, match="arrive"):
        await bench.work(records(5, 5))


async def test_what_was_polled_under_one_assignment_is_no_work_of_the_next() -> None:
    """Else the next one would commit past records that only the former one had taken."""
    bench = Bench()
    await bench.assign(3, 4)

    async def reassigned_meanwhile() -> None:
        bench.sink.on_write = None
        await bench.reassign(3, 4)

    bench.sink.on_write = reassigned_meanwhile
    await bench.work(records(0, 5, partition=3), records(5, 5, partition=4))
    assert all(partition == 3 for partition, _offset in bench.sink.taken)
    assert bench.pipeline.owned[4].received_to is None
    assert not bench.reader.commits


async def test_a_marker_is_passed_over_committed_and_not_told() -> None:
    """Before the first record, between two batches, and behind the last one."""
    bench = Bench()
    bench.reader.first_kept = 0
    await bench.assign(3)
    with structlog.testing.capture_logs() as told:
        await bench.work(read_to={3: 1})
        await bench.work(records(1, 4))
        await bench.work(records(6, 4), read_to={3: 11})
        await bench.work(read_to={3: 12})
        await bench.tell_missing()
    assert bench.reader.commits == [{3: 1}, {3: 5}, {3: 11}, {3: 12}]
    assert not told


@pytest.mark.parametrize("records_follow", [True, False])
async def test_what_retention_took_while_the_group_was_away_is_told(records_follow: bool) -> None:
    """Also when nothing is left that could be polled."""
    bench = Bench()
    bench.reader.committed_before, bench.reader.first_kept = {3: 5}, 8
    await bench.assign(3)
    with structlog.testing.capture_logs() as told:
        await bench.work(*([records(9, 4)] if records_follow else []), read_to={3: 13})
        await bench.tell_missing()
        await bench.tell_missing()
    [event] = told
    assert (event["event"], event["partition"], event["before"], event["count"]) == ("offsets_missing", 3, 8, 3)
    assert bench.reader.commits == [{3: 13}]


async def test_a_loss_that_the_broker_does_not_explain_is_told_by_a_later_membership() -> None:
    bench = Bench()
    await bench.assign(3)
    await bench.work(records(0, 5))
    await bench.work(records(8, 5))
    with structlog.testing.capture_logs() as told:
        with pytest.raises(BrokerUnavailable):
            await bench.tell_missing()
        assert await bench.pipeline.disconnect()
        assert not told
        bench.reader.first_kept = 8
        await bench.tell_missing()
    assert [(event["event"], event["count"]) for event in told] == [("offsets_missing", 3)]


async def test_a_loss_seen_just_before_the_end_is_told() -> None:
    bench = Bench()
    bench.reader.first_kept = 8
    await bench.assign(3)
    await bench.work(records(0, 5))
    await bench.work(records(8, 5))
    with structlog.testing.capture_logs() as told:
        assert await bench.pipeline.disconnect()
    assert [event["count"] for event in told] == [3]


async def test_a_position_behind_records_that_failed_is_not_committed() -> None:
    """The position is that of everything polled: of batches that were never begun, too."""
    bench = Bench()

    async def fail() -> None:
        raise SinkUnavailable("no database")

    await bench.assign(3, 4)
    await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    bench.sink.on_write = fail
    with pytest.raises(FatalError):
        await bench.work(records(5, 5, partition=3), records(5, 5, partition=4), read_to={3: 11, 4: 11})
    await bench.pipeline.disconnect()
    assert bench.reader.commits == [{3: 5, 4: 5}]


async def test_a_position_of_one_assignment_says_nothing_about_the_next() -> None:
    bench = Bench()
    await bench.assign(3, 4)

    async def reassigned_meanwhile() -> None:
        bench.sink.on_write = None
        await bench.reassign(3, 4)

    bench.sink.on_write = reassigned_meanwhile
    await bench.work(records(0, 5, partition=3), read_to={3: 6, 4: 9})
    assert bench.pipeline.owned[4].received_to is None
    assert not bench.reader.commits
