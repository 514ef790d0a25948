"""What a sink is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings


class Sink(Protocol):
    """Takes batches of one replica's partitions, in the order of each partition's offsets.

    `write` and `flush` raise SinkUnavailable when the same call may succeed later; the pipeline repeats it then. They
    raise FatalError when no repetition helps. No two calls of one sink overlap, except `forget`.
    """

    async def open(self) -> None:
        """Called once, before all else. Raises FatalError when the settings cannot work here."""

    async def write(self, batch: DecodedBatch) -> None:
        """Take the batch, all of it or (when this raises) as if none of it. It may stay in memory until `flush`."""

    async def flush(self) -> None:
        """When this returns, everything taken is where it belongs; its offsets are committed next."""

    def forget(self, partitions: Collection[int]) -> None:
        """Other members own these now: drop what was taken of them and is not flushed."""

    async def close(self) -> None:
        """Let go of resources. What is not flushed is lost to this process, and read again by the next."""


SinkFactory = Callable[[ConsumerSettings], Sink]
SinkTable = Mapping[str, SinkFactory]
