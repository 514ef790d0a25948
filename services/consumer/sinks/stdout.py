"""Prints every record as one JSON object in one line: its place in the topic, and its value as it stands there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping
from typing import BinaryIO

from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.text import printable
from shared.errors import FatalError


class StdoutSink:
    """Writes each batch in one piece, from a thread: while a slow reader holds the pipe, heartbeats go on.

    The service's own log goes to the same stream; whole pieces keep its lines and the records apart. A reader that
    stops for good stops this replica: the group gives its partitions to others after the session timeout.
    """

    def __init__(self, stream: Callable[[], BinaryIO] = lambda: sys.stdout.buffer) -> None:
        self._stream = stream

    @classmethod
    def from_settings(cls, _settings: ConsumerSettings) -> StdoutSink:
        return cls()

    async def open(self) -> None:
        """Nothing to do."""

    async def resume(self, _topic: str, _partitions: Collection[int]) -> Mapping[int, int]:
        """Where the group has come to."""
        return {}

    async def write(self, batch: DecodedBatch) -> None:
        await asyncio.to_thread(self._print, render(batch))

    def _print(self, text: bytes) -> None:
        stream = self._stream()
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            # The reader is gone or the disk behind it is full; part of the batch may be out, so a repetition here
            # would double it for a reader that is still there.
            raise FatalError(f"stdout cannot be written: {error.strerror}") from error

    async def flush(self) -> None:
        """Nothing to do: every write is flushed."""

    def forget(self, partitions: Collection[int]) -> None:
        """Nothing to do: nothing is held."""

    async def close(self) -> None:
        """Nothing to do: the stream belongs to the process."""


def render(batch: DecodedBatch) -> bytes:
    """The lines of a batch."""
    template = b'{"event":"record","topic":"%b","partition":%d,"offset":%%d,"record":%%b}\n' % (
        batch.topic.encode(),
        batch.partition,
    )
    text = b"".join([template % pair for pair in zip(batch.offsets, batch.values, strict=True)])
    # Nearly every batch needs nothing more, and to see that of the whole costs a third of looking at each value.
    if text.isascii() and b"\x7f" not in text and b"\r" not in text and text.count(b"\n") == len(batch.values):
        return text
    safe_values = map(printable, batch.values)
    return b"".join([template % pair for pair in zip(batch.offsets, safe_values, strict=True)])
