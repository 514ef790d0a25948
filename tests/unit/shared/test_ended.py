"""How a client's `stop` ends, whatever comes out of it."""

from __future__ import annotations

import asyncio

import pytest

from shared.kafka.connection import ended


async def hang(cancelled: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()


async def test_what_ends_well_is_told() -> None:
    assert await ended(asyncio.sleep(0)) is True


async def test_what_takes_too_long_is_ended() -> None:
    cancelled = asyncio.Event()
    assert await ended(hang(cancelled), 0.01) is False
    assert cancelled.is_set()


async def test_what_does_not_let_itself_be_ended_is_left() -> None:
    go_on = asyncio.Event()

    async def hold_out() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    assert await ended(hold_out(), 0.01) is False
    go_on.set()


async def test_a_cancellation_of_its_own_tasks_is_not_ours() -> None:
    async def close() -> None:
        cut_short = asyncio.get_running_loop().create_future()
        cut_short.cancel()
        await asyncio.gather(cut_short)

    assert await ended(close()) is False


async def test_our_cancellation_is_ours_and_ends_it_too() -> None:
    cancelled = asyncio.Event()
    ours = asyncio.create_task(ended(hang(cancelled), 60.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ours.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ours
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closed"), TimeoutError()])
async def test_errors_of_the_client_say_that_it_did_not_end_well(error: Exception) -> None:
    async def fail() -> None:
        raise error

    assert await ended(fail()) is False


async def test_other_errors_come_out() -> None:
    async def fail() -> None:
        raise AttributeError("a name that is gone")

    with pytest.raises(AttributeError, match="a name that is gone"):
        await ended(fail())
