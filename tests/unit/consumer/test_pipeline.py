"""What belongs to which assignment, on a reader that answers late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.consumer.dead_letters import DeadLetterQueue
from services.consumer.decode import DecodedBatch
from services.consumer.metrics import Metrics
from services.consumer.pipeline import POLL_TIMEOUT_S, Pipeline
from services.consumer.readiness import Readiness
from services.consumer.settings import ConsumerSettings
from services.consumer.tools import Tools
from shared.backoff import Backoff
from shared.errors import (
    BatchFailed,
    BrokerUnavailable,
    FatalError,
    OwnershipLost,
    RecordsRejected,
    RetryableError,
    SinkUnavailable,
)
from shared.kafka.consumer import GroupReader, Membership
from shared.kafka.records import Polled, RecordBatch
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from shared.schemas import DeadLetter, DeadLetterReason
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
        self.resting: frozenset[int] = frozenset()
        self.sought: dict[int, int] = {}
        self.timeout_s = 0.0

    async def poll(self, _max_records: int, timeout_s: float) -> Polled:
        self.timeout_s = timeout_s
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

    async def position(self, partition: int, _timeout_s: float) -> int | None:
        return self.committed_before.get(partition, 0)

    def rest(self, partitions: Collection[int]) -> None:
        self.resting = frozenset(partitions)

    def seek(self, offsets: Mapping[int, int]) -> None:
        self.sought.update(offsets)

    async def stop(self) -> None:
        """Nothing to do."""


class Taking:
    """A sink that takes everything; `on_write` is awaited before it does."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []
        self.forgotten: list[int] = []
        self.on_write: Callable[[DecodedBatch], Awaitable[None]] | None = None
        self.on_flush: Callable[[], Awaitable[None]] | None = None
        self.on_resume: Callable[[], Awaitable[None]] | None = None
        self.resumes_at: dict[int, int] = {}
        self.is_away_on_resume = False

    async def open(self) -> None:
        """Nothing to do."""

    async def resume(self, _topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        if self.on_resume is not None:
            await self.on_resume()
        if self.is_away_on_resume:
            raise SinkUnavailable("no answer")
        return {partition: offset for partition, offset in self.resumes_at.items() if partition in partitions}

    async def write(self, batch: DecodedBatch) -> None:
        if self.on_write is not None:
            await self.on_write(batch)
        self.taken += [(batch.partition, offset) for offset in batch.offsets]

    async def flush(self) -> None:
        if self.on_flush is not None:
            await self.on_flush()

    def forget(self, partitions: Collection[int]) -> None:
        self.forgotten += partitions

    async def close(self) -> None:
        """Nothing to do."""


class Letters:
    """A queue of dead letters that are confirmed at once."""

    def __init__(self) -> None:
        self.published: list[DeadLetter] = []

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self.published += letters


class Bench:
    """A pipeline with its reader and sink."""

    def __init__(self, *, sink_pause_s: float = 0.001, sink: Taking | None = None, **given: Any) -> None:
        settings = ConsumerSettings(**{"service_name": "test", "commit_interval_ms": 1, **given})
        self.health = Health(time.monotonic, 60.0)
        self.metrics = Metrics(CollectorRegistry(), "test", TOPIC)
        self.reader, self.sink, self.shutdown = Reader(), sink or Taking(), Shutdown()
        self.readiness = Readiness(self.health, structlog.get_logger(), time.monotonic, self.metrics.error)
        backoff = Backoff(sink_pause_s, sink_pause_s, lambda: 1.0)
        self.dead_letters = Letters()
        tools = Tools(
            self.sink,
            cast(DeadLetterQueue, self.dead_letters),
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


async def away() -> None:
    raise SinkUnavailable("the disk is full")


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
    with pytest.raises(RetryableError, match=r"still gives this replica partitions \[3\]"):
        await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))


@pytest.mark.parametrize("batches", [(), (records(5, 5),)])
async def test_a_loss_that_no_assignment_follows_replaces_the_reader(
    batches: tuple[RecordBatch, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing comes any more: records that came just after the loss were dropped."""
    bench = Bench()
    await bench.assign(3)
    bench.reader.on_commit = lose
    await bench.work(records(0, 5))
    monkeypatch.setattr("services.consumer.pipeline.LOST_GRACE_S", 0.0)
    with pytest.raises(RetryableError, match="still gives"):
        await bench.work(*batches)


async def test_what_was_polled_under_one_assignment_is_no_work_of_the_next() -> None:
    """Else the next one would commit past records that only the former one had taken."""
    bench = Bench()
    await bench.assign(3, 4)

    async def reassigned_meanwhile(_batch: DecodedBatch) -> None:
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
    await bench.work()  # where to begin is asked for, and sought
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
    """The position is that of everything polled: of batches that wait, too."""
    bench = Bench()
    await bench.assign(3, 4)
    await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    bench.sink.on_write = fail_with(SinkUnavailable("no database"))
    await bench.work(records(5, 5, partition=3), records(5, 5, partition=4), read_to={3: 11, 4: 11})
    await bench.pipeline.disconnect()
    assert bench.reader.commits == [{3: 5, 4: 5}]


def fail_with(error: Exception) -> Callable[[DecodedBatch], Awaitable[None]]:
    async def fail(_batch: DecodedBatch) -> None:
        raise error

    return fail


async def test_a_sink_that_is_away_makes_everything_rest_and_sets_nothing_aside() -> None:
    bench = Bench(sink_max_attempts=1, sink_breaker_after=0)
    await bench.assign(3, 4)
    bench.sink.on_write = fail_with(SinkUnavailable("no database"))
    await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    assert bench.reader.resting == {3, 4}
    assert bench.health.not_ready_because == "sink: no database"
    for _ in range(5):
        await bench.work()
    assert not bench.dead_letters.published
    bench.sink.on_write = None
    await bench.work()
    # In turn: which of the two is next depends on how often each was tried.
    taken = bench.sink.taken
    assert sorted(taken) == [(partition, offset) for partition in (3, 4) for offset in range(5)]
    assert all([offset for at, offset in taken if at == partition] == list(range(5)) for partition in (3, 4))
    assert bench.reader.resting == frozenset()
    assert bench.reader.commits == [{3: 5, 4: 5}]
    assert bench.health.not_ready_because is None


async def test_a_batch_that_fails_keeps_its_partition_waiting_and_no_other() -> None:
    bench = Bench()
    await bench.assign(3, 4)

    async def fail_at_partition_3(batch: DecodedBatch) -> None:
        if batch.partition == 3:
            raise BatchFailed("not now", "Hiccup")

    bench.sink.on_write = fail_at_partition_3
    await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    assert bench.reader.resting == {3}
    assert bench.reader.commits == [{4: 5}]
    await bench.work(records(5, 5, partition=4), read_to={3: 9, 4: 10})
    bench.sink.on_write = None
    await bench.work(read_to={3: 9, 4: 10})
    assert [offset for partition, offset in bench.sink.taken if partition == 3] == list(range(5))
    assert bench.reader.resting == frozenset()
    assert bench.reader.commits[-1] == {3: 9}


async def test_the_one_record_that_fails_is_found_and_set_aside() -> None:
    bench = Bench(sink_max_attempts=3)
    await bench.assign(3)
    attempts = 0

    async def fail_at_37(batch: DecodedBatch) -> None:
        nonlocal attempts
        attempts += 1
        if 37 in batch.offsets:
            raise BatchFailed("no such customer", "CustomerMissing")

    bench.sink.on_write = fail_at_37
    await bench.work(records(0, 100))
    for _ in range(3):
        await bench.work()
    assert [offset for _partition, offset in bench.sink.taken] == [*range(37), *range(38, 100)]
    [letter] = bench.dead_letters.published
    assert (letter.original_offset, letter.reason) == (37, DeadLetterReason.SINK_FAILED)
    assert (letter.exception_name, letter.attempts, letter.raw) == ("CustomerMissing", 3, value(37))
    assert bench.reader.commits[-1] == {3: 100}
    assert attempts < 20


@pytest.mark.parametrize("named", [True, False])
async def test_records_that_are_rejected_are_not_tried_again(named: bool) -> None:
    bench = Bench()
    await bench.assign(3)
    refused = frozenset({2, 7})

    async def reject(batch: DecodedBatch) -> None:
        if found := refused.intersection(batch.offsets):
            raise RecordsRejected("too long", "TooLong", found if named else None)

    bench.sink.on_write = reject
    await bench.work(records(0, 10))
    assert [offset for _partition, offset in bench.sink.taken] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert {letter.original_offset for letter in bench.dead_letters.published} == refused
    assert {letter.reason for letter in bench.dead_letters.published} == {DeadLetterReason.SINK_REJECTED}
    assert bench.reader.commits == [{3: 10}]


async def test_a_sink_that_takes_nothing_is_down_whatever_it_says() -> None:
    bench = Bench(sink_max_attempts=1, sink_breaker_after=4)
    await bench.assign(3, 4)
    bench.sink.on_write = fail_with(BatchFailed("some driver's own error", "DriverError"))
    await bench.work(records(0, 50, partition=3), records(0, 50, partition=4))
    for _ in range(10):
        await bench.work()
    assert [letter.original_offset for letter in bench.dead_letters.published] == [0, 1, 2, 3]
    assert bench.reader.resting == {3, 4}
    assert "some driver" in (bench.health.not_ready_because or "")
    bench.sink.on_write = None
    await bench.work()
    assert Counter(bench.sink.taken) == Counter(
        [(3, offset) for offset in range(4, 50)] + [(4, offset) for offset in range(50)]
    )
    assert bench.reader.commits[-1] == {3: 50, 4: 50}


async def test_a_sink_that_is_down_is_tried_with_one_call_at_a_time_and_told_of_once() -> None:
    """Although it fails at batches, and does not say that it is away."""
    bench = Bench(sink_max_attempts=1, sink_breaker_after=2)
    await bench.assign(3, 4)
    attempts: list[int] = []

    async def fail(batch: DecodedBatch) -> None:
        attempts.append(len(batch.records))
        raise BatchFailed("some driver's own error", "DriverError")

    bench.sink.on_write = fail
    with capture_logs() as log:
        await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
        before = len(attempts)
        for _ in range(4):
            await bench.work()
    assert len(attempts) == before + 4
    assert [line["event"] for line in log if line["event"].startswith("sink_")] == ["sink_unavailable"]


async def test_what_comes_behind_a_batch_that_waits_does_not_shorten_its_pause() -> None:
    bench = Bench(sink_pause_s=60.0)
    await bench.assign(3)
    attempts: list[int] = []

    async def fail(batch: DecodedBatch) -> None:
        attempts.append(batch.first_offset)
        raise BatchFailed("not now", "Hiccup")

    bench.sink.on_write = fail
    await bench.work(records(0, 5))
    await bench.work(records(5, 5))
    assert attempts == [0]


async def test_what_is_left_of_a_batch_is_not_offered_when_its_partition_has_gone() -> None:
    bench = Bench(sink_max_attempts=1)
    await bench.assign(3)
    offered: list[int] = []

    async def fail_then_lose(batch: DecodedBatch) -> None:
        offered.append(len(batch.records))
        if len(batch.records) == 4:
            raise BatchFailed("too large", "Hiccup")
        await bench.reassign(3)

    bench.sink.on_write = fail_then_lose
    await bench.work(records(0, 4))
    assert offered == [4, 2]


async def test_with_a_breaker_of_0_nothing_is_set_aside_because_of_the_sink() -> None:
    bench = Bench(sink_max_attempts=1, sink_breaker_after=0)
    await bench.assign(3)
    bench.sink.on_write = fail_with(RecordsRejected("never", "Refused", frozenset({2})))
    await bench.work(records(0, 5))
    await bench.work()
    assert not bench.dead_letters.published
    assert bench.reader.resting == {3}
    bench.sink.on_write = None
    await bench.work()
    assert bench.reader.commits == [{3: 5}]
    assert bench.health.ready


async def test_what_is_set_aside_does_not_count_as_taken() -> None:
    bench = Bench(sink_max_attempts=1)
    await bench.assign(3)

    async def fail_at_2(batch: DecodedBatch) -> None:
        if 2 in batch.offsets:
            raise BatchFailed("poison", "Hiccup")

    bench.sink.on_write = fail_at_2
    await bench.work(records(0, 5))
    assert bench.pipeline.processed_total == 4
    assert bench.reader.commits == [{3: 5}]


class Keeping(Taking):
    """It keeps offsets with its output, and is told of batches without a record."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped: list[tuple[int, int]] = []
        self.on_skip: Callable[[], Awaitable[None]] | None = None

    async def skip(self, batch: DecodedBatch) -> None:
        assert not batch.records
        if self.on_skip is not None:
            await self.on_skip()
        self.skipped.append((batch.first_offset, batch.next_offset))


async def test_a_sink_that_keeps_offsets_hears_of_batches_without_a_record() -> None:
    """Else a restart would read them again, and set aside again what is no record."""
    bench = Bench(sink=Keeping(), sink_max_attempts=1)
    sink = cast(Keeping, bench.sink)
    await bench.assign(3)
    await bench.work(received([b"nonsense"] * 5))
    assert sink.skipped == [(0, 5)]
    sink.on_write = fail_with(BatchFailed("poison", "Hiccup"))
    await bench.work(records(5, 1))
    assert sink.skipped == [(0, 5), (5, 6)]
    assert not sink.taken
    assert bench.reader.commits[-1] == {3: 6}


async def test_a_sink_that_is_back_for_batches_without_a_record_is_back() -> None:
    bench = Bench(sink=Keeping())
    sink = cast(Keeping, bench.sink)
    await bench.assign(3)
    sink.on_skip = away
    await bench.work(received([b"nonsense"] * 5))
    assert not bench.health.ready
    assert bench.reader.resting == {3}
    sink.on_skip = None
    await bench.work()
    assert bench.health.ready
    assert bench.reader.commits == [{3: 5}]


async def test_a_poison_that_holds_one_partition_is_set_aside_once_another_shows_that_the_sink_works() -> None:
    bench = Bench(sink_max_attempts=1, sink_breaker_after=2)
    await bench.assign(3, 4)

    async def fail_at_partition_3(batch: DecodedBatch) -> None:
        if batch.partition == 3:
            raise BatchFailed("not now", "Hiccup")

    bench.sink.on_write = fail_at_partition_3
    await bench.work(records(0, 5, partition=3), records(0, 5, partition=4))
    for _ in range(5):
        await bench.work()
    assert len(bench.dead_letters.published) == 4, "two, then two more after the other partition's batch"
    assert (4, 4) in bench.sink.taken


async def test_a_flush_that_fails_commits_nothing_and_is_tried_again() -> None:
    bench = Bench()
    await bench.assign(3)

    async def fail() -> None:
        raise SinkUnavailable("the disk is full")

    bench.sink.on_flush = fail
    await bench.work(records(0, 5))
    await bench.work()
    assert not bench.reader.commits
    assert bench.reader.resting == {3}
    bench.sink.on_flush = None
    await bench.work()
    assert bench.reader.commits == [{3: 5}]
    assert bench.reader.resting == frozenset()


async def test_the_last_flush_does_not_wait_for_the_next_attempt() -> None:
    bench = Bench(sink_pause_s=60.0)
    await bench.assign(3)

    async def fail() -> None:
        raise SinkUnavailable("the disk is full")

    bench.sink.on_flush = fail
    await bench.work(records(0, 5))
    bench.sink.on_flush = None
    assert await bench.pipeline.disconnect()
    assert bench.reader.commits == [{3: 5}]


async def test_while_a_flush_fails_the_next_attempt_is_waited_for() -> None:
    """Not the commit that is due: that would be one poll after the other, for as long as the sink is away."""
    bench = Bench(sink_pause_s=60.0)
    await bench.assign(3)
    bench.sink.on_flush = away
    await bench.work(records(0, 5))
    await bench.work()
    assert bench.reader.timeout_s == POLL_TIMEOUT_S


async def test_a_flush_that_failed_is_tried_when_it_is_due_and_not_when_a_commit_is() -> None:
    bench = Bench(commit_interval_ms=60_000)
    await bench.assign(3)
    await bench.work(records(0, 5))
    bench.sink.on_flush = away
    assert not await bench.pipeline._drain()
    bench.sink.on_flush = None
    await bench.work()
    assert bench.reader.commits == [{3: 5}]


@pytest.mark.parametrize("away_at", ["resume", "write"])
async def test_a_replica_without_partitions_waits_for_no_sink(away_at: str) -> None:
    """Nothing asks the sink any more: an idle replica is ready, and its polls wait for records."""
    bench = Bench()
    bench.sink.is_away_on_resume = away_at == "resume"
    bench.sink.on_write = fail_with(SinkUnavailable("no database"))
    await bench.assign(3)
    await bench.work(records(0, 5))
    assert not bench.health.ready
    await bench.reassign()
    await bench.work()
    assert bench.health.ready
    assert bench.reader.timeout_s == POLL_TIMEOUT_S
    await bench.reassign(3)
    await bench.work(records(0, 5))
    assert not bench.health.ready, "the sink is away still"


async def test_a_sink_that_never_answers_where_it_is_counts_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(bench.pipeline._feeder, "_attempt_limit_s", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    bench.sink.on_resume = hang
    await bench.assign(3)
    with pytest.raises(FatalError, match="stuck"):
        await asyncio.wait_for(bench.work(), 5)


async def test_a_sink_that_keeps_offsets_says_where_reading_goes_on() -> None:
    bench = Bench()
    bench.reader.committed_before = {3: 20, 4: 7}
    bench.sink.resumes_at = {3: 10, 4: 7}
    await bench.assign(3, 4)
    await bench.work(records(20, 5, partition=3), records(7, 5, partition=4))
    assert bench.reader.sought == {3: 10, 4: 7}
    assert not bench.sink.taken, "what was polled may not be what is wanted"
    await bench.work(records(10, 15, partition=3), records(7, 5, partition=4))
    assert bench.reader.commits == [{3: 10}, {3: 25, 4: 12}], "the group is told, also where that is a step back"


async def test_a_sink_that_commits_is_the_only_one_to_do_so() -> None:
    """Also of offsets without a record; what it could not commit is committed in the next round."""
    bench = Bench()
    commits: list[dict[int, int]] = []
    away = [SinkUnavailable("no broker")]

    async def commit(next_offsets: Mapping[int, int]) -> None:
        if away:
            raise away.pop()
        commits.append(dict(next_offsets))

    bench.sink.commit = commit  # type: ignore[attr-defined]
    await bench.assign(3)
    await bench.work(records(0, 5))
    assert not commits
    await bench.work(read_to={3: 7})
    assert commits == [{3: 7}]
    assert not bench.reader.commits


async def test_a_sink_that_is_away_after_an_assignment_is_asked_again() -> None:
    """The membership goes on; what was polled meanwhile is polled again."""
    bench = Bench()
    bench.reader.committed_before = {3: 20}
    bench.sink.is_away_on_resume = True
    await bench.assign(3, 4)
    for _ in range(2):
        await bench.work(records(20, 5), read_to={3: 25, 4: 9})
        assert bench.reader.sought == {3: 20}
        assert bench.reader.resting == {3, 4}
        assert not bench.health.ready
    assert not bench.sink.taken
    assert not bench.reader.commits
    bench.sink.is_away_on_resume = False
    await bench.work(records(20, 5))
    await bench.work(records(20, 5))
    assert bench.reader.commits == [{3: 25}]
    assert bench.reader.resting == frozenset()
    assert bench.health.ready


async def test_a_flush_that_failed_is_no_matter_of_the_next_assignment() -> None:
    """What it was about is another member's: without anything to flush the sink would count as away for ever."""
    bench = Bench()
    await bench.assign(3)

    async def fail() -> None:
        raise SinkUnavailable("the disk is full")

    bench.sink.on_flush = fail
    await bench.work(records(0, 5))
    await bench.reassign(4)
    bench.sink.on_flush = None
    await bench.work()
    assert bench.reader.resting == frozenset()
    await bench.work(records(0, 5, partition=4))
    assert bench.reader.commits == [{4: 5}]


async def test_a_partition_that_is_given_away_takes_what_waits_with_it() -> None:
    bench = Bench()
    await bench.assign(3, 4)
    bench.sink.on_write = fail_with(BatchFailed("not now", "Hiccup"))
    await bench.work(records(0, 5))
    await bench.reassign(4)
    bench.sink.on_write = None
    await bench.work()
    assert not bench.sink.taken
    assert bench.pipeline.in_flight == 0


async def test_a_sink_that_was_down_before_an_assignment_is_tried_with_what_comes() -> None:
    """Nothing waits any more, so only a poll can bring what shows whether it is back."""
    bench = Bench()
    await bench.assign(3)
    bench.sink.on_write = fail_with(SinkUnavailable("no database"))
    await bench.work(records(0, 5))
    await bench.reassign(3)
    await bench.work()
    assert bench.reader.resting == frozenset()
    bench.sink.on_write = None
    await bench.work(records(0, 5))
    assert bench.reader.commits == [{3: 5}]


async def test_a_flush_that_failed_before_an_assignment_is_tried_again() -> None:
    bench = Bench()
    await bench.assign(3)

    async def fail() -> None:
        raise SinkUnavailable("the disk is full")

    bench.sink.on_flush = fail
    await bench.work(records(0, 5))
    await bench.reassign(3)
    bench.sink.on_flush = None
    await bench.work()
    assert bench.reader.resting == frozenset()
    await bench.work(records(0, 5))
    assert bench.reader.commits == [{3: 5}]


async def test_a_sink_that_never_returns_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(bench.pipeline._feeder, "_attempt_limit_s", 0.01)
    await bench.assign(3)

    async def hang(_batch: DecodedBatch) -> None:
        await asyncio.Event().wait()

    bench.sink.on_write = hang
    with pytest.raises(FatalError, match="stuck"):
        await bench.work(records(0, 5))


async def test_a_position_of_one_assignment_says_nothing_about_the_next() -> None:
    bench = Bench()
    await bench.assign(3, 4)

    async def reassigned_meanwhile(_batch: DecodedBatch) -> None:
        bench.sink.on_write = None
        await bench.reassign(3, 4)

    bench.sink.on_write = reassigned_meanwhile
    await bench.work(records(0, 5, partition=3), read_to={3: 6, 4: 9})
    assert bench.pipeline.owned[4].received_to is None
    assert not bench.reader.commits


async def test_a_membership_is_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rack too, without which everybody reads from the leaders and nobody notices."""
    wanted: list[Membership] = []

    async def start(_settings: object, membership: Membership, _listener: object) -> GroupReader:
        wanted.append(membership)
        return cast(GroupReader, Reader())

    monkeypatch.setattr(GroupReader, "start", start)
    await Bench(kafka_client_rack="rack-2", kafka_isolation_level="read_uncommitted").pipeline.connect()
    await Bench().pipeline.connect()
    assert [(one.rack, one.isolation_level) for one in wanted] == [
        ("rack-2", "read_uncommitted"),
        (None, "read_committed"),
    ]
