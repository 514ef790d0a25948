"""A user's own function as a sink."""

from __future__ import annotations

import asyncio
import sysconfig
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path

from services.consumer.decode import DecodedBatch
from services.consumer.handlers import Handler, load_handler
from services.consumer.settings import ConsumerSettings
from shared.errors import FatalError, SinkUnavailable

# Where code lies that is not the user's: the standard library, installed packages, and this file.
_OTHERS = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), "<frozen", __file__)


class HandlerSink:
    """Awaits the function for every batch. When it returns the batch is done; when it raises the batch is repeated."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> HandlerSink:
        assert settings.handler is not None, "settings refuse SINK=handler without HANDLER"
        return cls(load_handler(settings.handler))

    async def open(self) -> None:
        """Nothing to do."""

    async def resume(self, _topic: str, _partitions: Collection[int]) -> Mapping[int, int]:
        """Where the group has come to."""
        return {}

    async def write(self, batch: DecodedBatch) -> None:
        try:
            await self._handler(batch.records)
        except asyncio.CancelledError as error:
            # Told apart from our own shutdown: a task that the handler waits for may be cancelled by anybody.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise SinkUnavailable(describe_failure(error)) from error
        except SystemExit as error:
            raise FatalError(f"{describe_failure(error)}. A handler must not end the process.") from error
        except Exception as error:
            raise SinkUnavailable(describe_failure(error)) from error

    async def flush(self) -> None:
        """Nothing to do: a batch is done when the function returns."""

    def forget(self, partitions: Collection[int]) -> None:
        """Nothing to do: nothing is held."""

    async def close(self) -> None:
        """Nothing to do."""


def describe_failure(error: BaseException) -> str:
    """What the handler raised, and the innermost line of the user's own code that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = f": {error}" if str(error) else ""
    return f"the handler failed: {type(error).__name__}{said}{place}"
