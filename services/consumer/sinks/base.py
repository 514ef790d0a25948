"""What a sink is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

from services.consumer.decode import DecodedBatch
from services.consumer.metrics import Metrics
from services.consumer.settings import ConsumerSettings


class Sink(Protocol):
    """Takes batches of one replica's partitions, in the order of each partition's offsets.

    `resume`, `write` and `flush` raise SinkUnavailable when the sink is away: they are called again when it may be
    back. `write` raises BatchFailed when it may take this batch the next time, and RecordsRejected for records that it
    will never take. `flush`, and a `write` that flushes first, raise OwnershipLost when another member has gone on with
    one of the partitions. All raise FatalError when no repetition helps. No two calls of one sink overlap, except
    `forget`.
    """

    async def open(self) -> None:
        """Called once, before all else. Raises FatalError when the settings cannot work here."""

    async def resume(self, topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """Where reading begins, by partition, for a sink that keeps offsets with its output; called after each
        assignment, before the first `write`. A partition that is absent begins at what its group has committed.
        """

    async def write(self, batch: DecodedBatch) -> None:
        """Take the batch, all of it or (when this raises) as if none of it. It may stay in memory until `flush`."""

    async def flush(self) -> None:
        """When this returns, everything taken is where it belongs; its offsets are committed next."""

    def forget(self, partitions: Collection[int]) -> None:
        """Other members own these now: drop what was taken of them and is not flushed."""

    async def close(self) -> None:
        """Let go of resources. What is not flushed is lost to this process, and read again by the next."""


@runtime_checkable
class CommittingSink(Protocol):
    """A sink whose output and the group's offsets are one transaction: nobody else commits for it."""

    async def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit the next offset to read, by partition; called after `flush`, which may have done so already.

        Raises OwnershipLost or SinkUnavailable.
        """


@runtime_checkable
class OffsetKeeper(Protocol):
    """A sink whose `resume` tells offsets that it keeps with its output. Those of batches that hold no record for it
    belong there, too: else what was set aside of them would be read, and set aside, again after each start.
    """

    async def skip(self, batch: DecodedBatch) -> None:
        """Called instead of `write` for a batch without records. Raises as `flush` does."""


@runtime_checkable
class Measured(Protocol):
    """A sink with metrics of its own."""

    def measure(self, metrics: Metrics) -> None:
        """Called once, before `open`."""


SinkFactory = Callable[[ConsumerSettings], Sink]
SinkTable = Mapping[str, SinkFactory]
