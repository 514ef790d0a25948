"""What the watch says of a membership that cannot go on, and whether anybody hears it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import cast

import pytest

from services.consumer import watch as watch_module
from services.consumer.decode import DecodedBatch
from services.consumer.supervisor import Supervisor
from services.consumer.watch import SINK_BUSY_AFTER_S, STALLED_AFTER_S, Watch
from shared.backoff import Backoff
from shared.errors import AccessDenied, BrokerUnavailable, FatalError, SinkUnavailable
from shared.kafka.consumer import GroupReader
from shared.kafka.records import Polled
from tests.unit.consumer.test_pipeline import Bench, Reader, records


class Refusing(Reader):
    """Polls bring nothing; asking for the ends raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.assigned = frozenset({3})

    async def poll(self, _max_records: int, _timeout_s: float) -> Polled:
        await asyncio.sleep(0.001)
        return Polled((), {})

    async def end_offsets(self, _partitions: Collection[int], _timeout_s: float) -> dict[int, int]:
        raise self._error

    @property
    def joining_for_s(self) -> float:
        return 0.0


@pytest.mark.parametrize("error", [AccessDenied("the broker refused it"), KeyError("a fault of the watch itself")])
async def test_a_watch_that_ends_ends_the_membership(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unwatched, a stuck membership would pass for a healthy one."""
    monkeypatch.setattr(watch_module, "LOOK_INTERVAL_S", 0.001)
    bench, reader = Bench(), Refusing(error)

    async def connect() -> GroupReader:
        bench.pipeline._reader = cast(GroupReader, reader)
        await bench.pipeline.on_assigned(reader.assigned)
        return cast(GroupReader, reader)

    monkeypatch.setattr(bench.pipeline, "connect", connect)
    watch = Watch(bench.pipeline, bench.readiness, bench.metrics, time.monotonic, lambda: 0, 60.0)
    backoff = Backoff(0.001, 0.001, lambda: 1.0)
    supervisor = Supervisor(bench.pipeline, watch, bench.readiness, bench.health, backoff, bench.shutdown)
    async with asyncio.timeout(5):
        with pytest.raises(type(error)):
            await supervisor.run(20.0)
    assert bench.pipeline._reader is None, "it has left the group"


@pytest.mark.parametrize("committed", [True, False])
async def test_a_shutdown_while_the_broker_is_away_says_what_was_left(
    committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error ends the membership just then: the exit code tells all the same whether everything is committed."""
    bench, reader = Bench(), Refusing(BrokerUnavailable("no answer"))

    async def connect() -> GroupReader:
        await bench.assign(3)
        bench.pipeline._reader = cast(GroupReader, bench.reader)
        return cast(GroupReader, reader)

    async def work() -> None:
        bench.pipeline.owned[3].begin(0)
        bench.pipeline.owned[3].receive(0, 5)
        if not committed:
            bench.pipeline.owned[3].take(0, 5, 0)
        bench.shutdown.request()
        raise BrokerUnavailable("no answer")

    async def refuse() -> None:
        raise BrokerUnavailable("no answer")

    bench.reader.on_commit = refuse
    monkeypatch.setattr(bench.pipeline, "connect", connect)
    monkeypatch.setattr(bench.pipeline, "work", work)
    watch = Watch(bench.pipeline, bench.readiness, bench.metrics, time.monotonic, lambda: 0, 60.0)
    backoff = Backoff(0.001, 0.001, lambda: 1.0)
    supervisor = Supervisor(bench.pipeline, watch, bench.readiness, bench.health, backoff, bench.shutdown)
    async with asyncio.timeout(5):
        if committed:
            await supervisor.run(20.0)
        else:
            with pytest.raises(FatalError, match="processed and not committed"):
                await supervisor.run(20.0)


async def test_a_membership_that_waits_for_its_sink_does_not_stand_still() -> None:
    """Records wait for a sink that is away, for as long as it takes: another membership would not help."""
    bench, ahead_s = Bench(), 0.0

    async def fail() -> None:
        raise SinkUnavailable("no answer")

    bench.sink.on_flush = fail
    await bench.assign(3)
    await bench.work(records(0, 5))
    assert bench.pipeline.in_flight == 0, "the sink has taken all, and stored nothing"
    watch = Watch(bench.pipeline, bench.readiness, bench.metrics, lambda: time.monotonic() + ahead_s, lambda: 0, 60.0)
    for later_s in (0.0, STALLED_AFTER_S + 1):
        ahead_s = later_s
        watch._judge({3: 5}, {3: 10}, 0.0)
    assert watch.verdict is None
    bench.sink.on_flush = None
    await bench.work()
    for later_s in (0.0, STALLED_AFTER_S + 1):
        ahead_s = later_s
        watch._judge({3: 5}, {3: 10}, 0.0)
    assert "stands still at 5" in str(watch.verdict)


async def test_a_sink_that_does_not_return_makes_the_replica_not_ready() -> None:
    """It never fails, so nothing else would tell of it before MAX_POLL_INTERVAL_MS."""
    bench, returned, ahead_s = Bench(), asyncio.Event(), 0.0

    async def until_returned(_batch: DecodedBatch) -> None:
        await returned.wait()

    bench.sink.on_write = until_returned
    await bench.assign(3)
    watch = Watch(bench.pipeline, bench.readiness, bench.metrics, lambda: time.monotonic() + ahead_s, lambda: 0, 60.0)
    working = asyncio.create_task(bench.work(records(0, 5)))
    await asyncio.sleep(0.02)
    watch._look_at_the_sink()
    assert bench.health.ready
    ahead_s = SINK_BUSY_AFTER_S
    watch._look_at_the_sink()
    assert bench.health.not_ready_because == "sink: the sink has been at one call for more than 30 s"
    returned.set()
    await working
    assert bench.health.ready
    watch._look_at_the_sink()
    assert bench.health.ready
