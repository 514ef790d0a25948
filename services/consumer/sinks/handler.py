"""A user's own function as a sink."""

from __future__ import annotations

from collections.abc import Collection

from services.consumer.decode import DecodedBatch
from services.consumer.handlers import Handler, load_handler
from services.consumer.settings import ConsumerSettings
from shared.errors import SinkUnavailable


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

    async def write(self, batch: DecodedBatch) -> None:
        try:
            await self._handler(batch.records)
        except Exception as error:
            raise SinkUnavailable(f"the handler failed: {type(error).__name__}: {error}") from error

    async def flush(self) -> None:
        """Nothing to do: a batch is done when the function returns."""

    def forget(self, partitions: Collection[int]) -> None:
        """Nothing to do: nothing is held."""

    async def close(self) -> None:
        """Nothing to do."""
