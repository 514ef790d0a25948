"""Keeps one membership of the group going until a shutdown: makes it, watches it, replaces it, ends it in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.consumer.pipeline import Pipeline
from services.consumer.readiness import Obstacle, Readiness
from services.consumer.watch import Watch
from shared.backoff import Backoff
from shared.errors import FatalError, RetryableError
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown

# Of the time for a shutdown, what is kept for leaving the group when draining has used up the rest.
LEAVE_RESERVE_S = 5.0

Result = TypeVar("Result")


class Supervisor:
    """Runs the pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        watch: Watch,
        readiness: Readiness,
        health: Health,
        backoff: Backoff,
        shutdown: Shutdown,
    ) -> None:
        self._pipeline = pipeline
        self._watch = watch
        self._readiness = readiness
        self._health = health
        self._backoff = backoff
        self._shutdown = shutdown
        self._failures = 0

    async def run(self, shutdown_timeout_s: float) -> None:
        """Work until a shutdown is requested, then end within the timeout.

        Raises FatalError when the work cannot go on, or when a shutdown came too late for what was in flight: that
        will be read again.
        """
        working = asyncio.create_task(self._work())
        requested = asyncio.create_task(self._shutdown.wait())
        try:
            await asyncio.wait({working, requested}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=max(1.0, shutdown_timeout_s - LEAVE_RESERVE_S))
        finally:
            requested.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working}, timeout=LEAVE_RESERVE_S)
        if not working.done() or working.cancelled():
            raise FatalError(f"not drained within SHUTDOWN_TIMEOUT_S={shutdown_timeout_s:g}; the rest is read again")
        working.result()

    async def _work(self) -> None:
        while not self._shutdown.requested:
            self._health.progressed()
            try:
                await self._one_membership()
            except RetryableError as error:
                self._failures += 1
                self._readiness.block(Obstacle.BROKER, str(error))
                await self._shutdown.wait_at_most(self._backoff.delay_s(self._failures))

    async def _one_membership(self) -> None:
        reader = await self._unless_shutdown(self._pipeline.connect())
        if reader is None:
            return
        watching = asyncio.create_task(self._watch.run(reader))
        try:
            await self._work_until_shutdown(watching)
            drained = await self._pipeline.disconnect()
        except RetryableError:
            drained = await self._pipeline.disconnect()
            if drained or not self._shutdown.requested:
                raise  # the next membership reads again what was not committed
        except FatalError:
            await self._pipeline.disconnect()
            raise
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            await self._pipeline.leave()
        if not drained:
            raise FatalError("stopped with records that are processed and not committed; they are read again")

    async def _work_until_shutdown(self, watching: asyncio.Task[None]) -> None:
        while not self._shutdown.requested:
            await self._pipeline.work()
            self._failures = 0
            if self._watch.verdict is not None:
                raise self._watch.verdict
            if watching.done():
                watching.result()  # a fault of its own: unwatched, a stuck membership would pass for a healthy one

    async def _unless_shutdown(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """The result of `work`, or None when a shutdown was requested first; then it is cancelled."""
        task = asyncio.create_task(work)
        requested = asyncio.create_task(self._shutdown.wait())
        try:
            await asyncio.wait({task, requested}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            requested.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return None if task.cancelled() else task.result()
