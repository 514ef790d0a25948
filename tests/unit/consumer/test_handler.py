"""A function of a user's own: what it may look like, how it is called, what its errors become."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest

from services.consumer.decode import DecodedBatch
from services.consumer.handlers import Away, Meaning, Reject, as_handler, load_handler, meaning_of
from services.consumer.sinks.handler import HandlerSink
from shared.errors import (
    BatchFailed,
    FatalError,
    HandlerNotFound,
    RecordsRejected,
    SinkUnavailable,
)
from shared.schemas import AccessRecord
from tests.unit.consumer.records import batch

THIS_FILE = r"\(test_handler\.py:\d+\)"


def sink_of(function: Callable[..., Awaitable[None]]) -> HandlerSink:
    return HandlerSink(as_handler(function))


def raising(error: BaseException) -> HandlerSink:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        raise error

    return sink_of(fail)


async def unannotated(records):  # type: ignore[no-untyped-def]
    """As in a script."""


async def of_sequence(records: Sequence[AccessRecord]) -> None:
    """As in the documentation."""


async def of_list(records: list[AccessRecord], limit: int = 10) -> None:
    """With a second argument that may be left out."""


async def of_iterable(records: Iterable[AccessRecord]) -> None:
    """Anything that a list is."""


async def of_one(record: AccessRecord) -> None:
    """One at a time."""


@pytest.mark.parametrize("function", [unannotated, of_sequence, of_list, of_iterable])
def test_a_function_over_a_sequence_takes_batches(function: Callable[..., Awaitable[None]]) -> None:
    assert not as_handler(function).takes_one


def test_a_function_over_a_record_takes_one() -> None:
    assert as_handler(of_one).takes_one


async def takes_nothing() -> None: ...
async def takes_two(record: AccessRecord, database: str) -> None: ...
async def takes_a_name(*, records: Sequence[AccessRecord]) -> None: ...
async def takes_text(line: str) -> None: ...
async def takes_numbers(records: Sequence[int]) -> None: ...
async def takes_what_is_not_there(records: Sequence[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (takes_nothing, "must take exactly one argument"),
        (takes_two, "must take exactly one argument"),
        (takes_a_name, "must take exactly one argument"),
        (takes_text, "takes line: str"),
        (takes_numbers, r"takes records: .*Sequence\[int\]"),
    ],
)
def test_a_wrong_signature_is_refused_with_an_example(function: Callable[..., Awaitable[None]], message: str) -> None:
    with pytest.raises(HandlerNotFound, match=rf"{message}.*\. Write async def handle\(records: Sequence"):
        as_handler(function)


def test_the_refusal_names_the_setting() -> None:
    with pytest.raises(HandlerNotFound, match=rf"^HANDLER={re.escape(__name__)}:takes_text takes line: str\. Write"):
        load_handler(f"{__name__}:takes_text")


def test_an_annotation_that_is_not_there_when_the_service_runs_is_refused() -> None:
    with pytest.raises(HandlerNotFound, match=r"'Nowhere' is not defined\. Import what they name"):
        as_handler(takes_what_is_not_there)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ConnectionRefusedError(), Meaning.AWAY),
        (TimeoutError(), Meaning.AWAY),
        (Away("maintenance"), Meaning.AWAY),
        (OSError(errno.ENOSPC, "No space left on device"), Meaning.AWAY),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Meaning.AWAY),
        (ssl.SSLCertVerificationError("a ValueError as well"), Meaning.AWAY),
        (Reject("no"), Meaning.REJECTED),
        (TypeError(), Meaning.REJECTED),
        (json.JSONDecodeError("no", "", 0), Meaning.REJECTED),
        (KeyError("table"), Meaning.REJECTED),
        (ZeroDivisionError(), Meaning.REJECTED),
        (UnboundLocalError(), Meaning.REJECTED),
        (FileNotFoundError(errno.ENOENT, "No such file"), Meaning.FAILED),
        (RuntimeError(), Meaning.FAILED),
    ],
)
async def test_what_an_error_means(error: Exception, meaning: Meaning) -> None:
    """And what the pipeline is told then."""
    told = {Meaning.AWAY: SinkUnavailable, Meaning.REJECTED: RecordsRejected, Meaning.FAILED: BatchFailed}
    assert meaning_of(error) is meaning
    with pytest.raises(told[meaning]):
        await raising(error).write(batch(0, 1))


async def test_a_batch_that_fails_by_a_bug_names_no_record() -> None:
    """Only trying parts of it tells which one it is."""
    with pytest.raises(RecordsRejected, match="KeyError: 'table'") as raised:
        await raising(KeyError("table")).write(batch(0, 5))
    assert raised.value.offsets is None
    assert raised.value.cause_name == "KeyError"


async def test_reject_names_the_records() -> None:
    async def handle(records: Sequence[AccessRecord]) -> None:
        raise Reject("no account", records=[record for record in records if record.path in {"/12", "/14"}])

    with pytest.raises(RecordsRejected, match="no account") as raised:
        await sink_of(handle).write(batch(10, 10))
    assert raised.value.offsets == frozenset({12, 14})


async def test_reject_without_records_leaves_the_search_to_the_service() -> None:
    with pytest.raises(RecordsRejected) as raised:
        await raising(Reject("one of them")).write(batch(0, 5))
    assert raised.value.offsets is None


async def test_the_failure_of_a_handler_names_the_line_of_ones_own_code() -> None:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        json.loads("nope")

    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(RecordsRejected, match=rf"JSONDecodeError: .* \(test_handler\.py:{line}\)$"):
        await sink_of(fail).write(batch(0, 1))


async def test_a_task_that_is_cancelled_within_a_handler_is_its_failure() -> None:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    with pytest.raises(SinkUnavailable, match=rf"CancelledError {THIS_FILE}$"):
        await sink_of(fail).write(batch(0, 1))


@pytest.mark.parametrize("kind", [Sequence[AccessRecord], AccessRecord])
async def test_a_shutdown_cancels_a_handler(kind: object) -> None:
    async def wait(_records: Any) -> None:
        await asyncio.sleep(60)

    wait.__annotations__["_records"] = kind
    writing = asyncio.create_task(sink_of(wait).write(batch(0, 1)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_a_handler_that_exits_ends_the_service_in_order() -> None:
    async def leave(_records: Sequence[AccessRecord]) -> None:
        sys.exit(3)

    with pytest.raises(FatalError, match=rf"SystemExit: 3 {THIS_FILE}\. A handler must not end"):
        await sink_of(leave).write(batch(0, 1))


class OneByOne:
    """A handler over single records that keeps what it has done, and raises what it is told to at an offset."""

    def __init__(self, errors: dict[int, Exception]) -> None:
        self.errors = errors
        self.done: list[int] = []
        self.sink = HandlerSink(as_handler(self.handle))

    async def handle(self, record: AccessRecord) -> None:
        if record.source.offset in self.errors:
            raise self.errors[record.source.offset]
        self.done.append(record.source.offset)

    async def write(self, one: DecodedBatch) -> None:
        await self.sink.write(one)


async def test_a_record_that_is_done_does_not_come_again_when_a_later_one_fails() -> None:
    handler = OneByOne({5: ConnectionError("no database")})
    with pytest.raises(SinkUnavailable, match="failed at offset 5: ConnectionError: no database"):
        await handler.write(batch(0, 10))
    assert handler.done == [*range(5)]
    handler.errors.clear()
    await handler.write(batch(0, 10))
    assert handler.done == [*range(10)]


async def test_halves_of_a_batch_that_failed_do_not_repeat_what_is_done() -> None:
    handler = OneByOne({7: RuntimeError("strange")})
    whole = batch(0, 10)
    with pytest.raises(BatchFailed, match="at offset 7"):
        await handler.write(whole)
    await handler.write(whole.part(0, 5))
    with pytest.raises(BatchFailed):
        await handler.write(whole.part(5, 10))
    handler.errors.clear()
    await handler.write(whole.part(5, 10))
    assert handler.done == [*range(10)]


async def test_rejected_records_are_told_together_and_the_others_are_done_once() -> None:
    handler = OneByOne({3: Reject("no"), 6: ValueError("neither")})
    whole = batch(0, 10)
    with pytest.raises(RecordsRejected, match="at offset 3: Reject: no") as raised:
        await handler.write(whole)
    assert raised.value.offsets == frozenset({3, 6})
    await handler.write(whole.without({3, 6}))
    assert handler.done == [0, 1, 2, 4, 5, 7, 8, 9]


@pytest.mark.parametrize("how", ["taken", "forgotten"])
async def test_the_same_offsets_come_again_when_they_are_others(how: str) -> None:
    """After a batch is taken, or its partition went away and came back, what was done says nothing any more."""
    handler = OneByOne({} if how == "taken" else {4: ConnectionError()})
    if how == "taken":
        await handler.write(batch(0, 5))
    else:
        with pytest.raises(SinkUnavailable):
            await handler.write(batch(0, 5))
        handler.errors.clear()
        handler.sink.forget([3])
    handler.done.clear()
    await handler.write(batch(0, 5))
    assert handler.done == [*range(5)]


async def test_partitions_are_done_apart() -> None:
    handler = OneByOne({2: ConnectionError()})
    with pytest.raises(SinkUnavailable):
        await handler.write(batch(0, 3, partition=1))
    handler.errors.clear()
    await handler.write(batch(0, 3, partition=2))
    assert handler.done == [0, 1, 0, 1, 2]
