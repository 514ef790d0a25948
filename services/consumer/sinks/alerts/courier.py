"""Takes alarms that are saved to the webhook, one after the other, for as long as it takes, and beside the records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from services.consumer.sinks.alerts.engine import Alarm
from services.consumer.sinks.alerts.webhook import Answer, Verdict
from shared.backoff import Backoff
from shared.runtime.logging import Logger


class Courier:
    """`settle` is told of each alarm that needs no further attempt."""

    def __init__(
        self,
        post: Callable[[Alarm], Awaitable[Answer]],
        settle: Callable[[Alarm, Verdict], Awaitable[None]],
        backoff: Backoff,
        log: Logger,
    ) -> None:
        self._post = post
        self._settle = settle
        self._backoff = backoff
        self._log = log
        self._queue: dict[str, Alarm] = {}
        self._woken = asyncio.Event()
        self._ending = False
        self._between_attempts = asyncio.Event()
        self._between_attempts.set()

    def accept(self, alarms: Sequence[Alarm]) -> None:
        """These are in the state file: a crash brings them again."""
        self._queue.update((alarm.id, alarm) for alarm in alarms)
        self._woken.set()

    def drop(self, alarm: Alarm) -> None:
        """There are too many."""
        self._queue.pop(alarm.id, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while not self._ending and (alarm := next(iter(self._queue.values()), None)) is not None:
                verdict = await self._deliver(alarm)
                self._queue.pop(alarm.id, None)
                await self._settle(alarm, verdict)
                self._between_attempts.set()

    async def finish(self, within_s: float) -> None:
        """Begin with no other alarm; return when what was posted is settled, or has failed, or the time is over.

        An answer that comes after this is not noted, and its alarm is told again by the next process.
        """
        self._ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._between_attempts.wait()

    async def _deliver(self, alarm: Alarm) -> Verdict:
        """Repeat until the webhook has decided. One line in the log when it goes away, and one when it is back."""
        failures, failing_since = 0, time.monotonic()
        while True:
            self._between_attempts.clear()
            answer = await self._post(alarm)
            if answer.verdict is not Verdict.AWAY:
                break
            self._between_attempts.set()
            if not failures:
                self._log.warning("webhook_unavailable", error=answer.because)
            failures += 1
            await asyncio.sleep(self._backoff.delay_s(failures))
        if failures:
            self._log.info("webhook_available", after_s=round(time.monotonic() - failing_since, 1))
        if answer.verdict is Verdict.REFUSED:
            self._log.error("alarm_refused", id=alarm.id, rule=alarm.rule, error=answer.because)
        return answer.verdict
