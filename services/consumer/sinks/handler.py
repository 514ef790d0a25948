"""A user's own function as a sink."""

from __future__ import annotations

import asyncio
import sysconfig
import traceback
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from services.consumer.decode import DecodedBatch
from services.consumer.handlers import Handler, Meaning, Reject, load_handler, meaning_of
from services.consumer.settings import ConsumerSettings
from shared.errors import BatchFailed, FatalError, PipelineError, RecordsRejected, SinkUnavailable

# Where code lies that is not the user's: the standard library, installed packages, and this file.
_OTHERS = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), "<frozen", __file__)


class HandlerSink:
    """Awaits the function for every batch, or for every record. When it returns, that is done; when it raises, the
    table in `services/consumer/handlers.py` says what becomes of it.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        # Offsets of batches that are not done as a whole, by partition. Those of one batch at most.
        self._done: defaultdict[int, set[int]] = defaultdict(set)

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
        if self._handler.takes_one:
            await self._write_each(batch)
            return
        try:
            await self._call(batch.records)
        except (SinkUnavailable, FatalError):
            raise
        except Exception as error:
            raise _told(error, batch) from error

    async def _write_each(self, batch: DecodedBatch) -> None:
        """What is done is not done again, in this process, when another record of the batch is not."""
        done = self._done[batch.partition]
        rejected: dict[int, Exception] = {}
        for record, offset in zip(batch.records, batch.offsets, strict=True):
            if offset in done:
                continue
            try:
                await self._call(record)
            except (SinkUnavailable, FatalError):
                raise
            except Exception as error:
                if meaning_of(error) is not Meaning.REJECTED:
                    raise _told(error, batch, offset) from error
                rejected[offset] = error
            else:
                done.add(offset)
        if rejected:
            first_offset, first_error = next(iter(rejected.items()))
            message = describe_failure(first_error, first_offset)
            raise RecordsRejected(message, type(first_error).__name__, frozenset(rejected)) from first_error
        done.difference_update(batch.offsets)

    async def _call(self, records: object) -> None:
        """Raises what the handler raises, but for what would end more than itself."""
        try:
            await self._handler.function(records)
        except asyncio.CancelledError as error:
            # Told apart from our own shutdown: a task that the handler waits for may be cancelled by anybody.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise SinkUnavailable(describe_failure(error)) from error
        except SystemExit as error:
            raise FatalError(f"{describe_failure(error)}. A handler must not end the process.") from error

    async def flush(self) -> None:
        """Nothing to do: a batch is done when the function returns."""

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._done.pop(partition, None)

    async def close(self) -> None:
        """Nothing to do."""


def _told(error: Exception, batch: DecodedBatch, offset: int | None = None) -> PipelineError:
    """The same, as the pipeline understands it. `offset` is that of the record, where it is known."""
    message = describe_failure(error, offset)
    meaning = meaning_of(error)
    if meaning is Meaning.AWAY:
        return SinkUnavailable(message)
    if meaning is Meaning.FAILED:
        return BatchFailed(message, type(error).__name__)
    return RecordsRejected(message, type(error).__name__, _rejected_offsets(error, batch))


def _rejected_offsets(error: Exception, batch: DecodedBatch) -> frozenset[int] | None:
    """Those of the records that a Reject names, by the lines that they are; None when it names none of the batch."""
    sources = {record.source for record in error.records} if isinstance(error, Reject) else set()
    found = (offset for offset, one in zip(batch.offsets, batch.records, strict=True) if one.source in sources)
    return frozenset(found) or None


def describe_failure(error: BaseException, offset: int | None = None) -> str:
    """What the handler raised, and the innermost line of the user's own code that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = f": {error}" if str(error) else ""
    at = f" at offset {offset}" if offset is not None else ""
    return f"the handler failed{at}: {type(error).__name__}{said}{place}"
