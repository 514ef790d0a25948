"""Counts records in windows and raises alarms, each record counted once and no alarm lost.

    write     counts in memory, and moves the partition's offset in the same state
    flush     saves the state: offsets, windows, and the alarms that are not delivered yet
    resume    the group reads on at the offsets of the state

Only saved alarms are told. Between a delivery and the next save the process may die; then the alarm is delivered again
under the same id. The lock of the folder keeps a second process out, so what is in memory stays true when the group
takes partitions away and brings them back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.consumer.decode import DecodedBatch
from services.consumer.metrics import Metrics
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.alerts.courier import Courier
from services.consumer.sinks.alerts.engine import Alarm, Engine, Silence, State
from services.consumer.sinks.alerts.rules import Rules, parse_rules
from services.consumer.sinks.alerts.state_file import VERSION, Saved, StateFolder
from services.consumer.sinks.alerts.webhook import Verdict, Webhook, fields_of, webhook_url
from services.consumer.sinks.alerts.window import observe
from shared.backoff import Backoff
from shared.errors import FatalError, InvalidSettings, SinkUnavailable
from shared.runtime.logging import get_logger

TICK_S = 1.0
WEBHOOK_RETRY_FIRST_S = 0.5
WEBHOOK_RETRY_LONGEST_S = 60.0
# For the answer to the alarm that is on its way at a shutdown; less than the lifecycle keeps for closing.
FINISH_TIMEOUT_S = 2.0
# Alarms that wait for the webhook. Of more, the oldest are dropped; the log has told them.
MAX_PENDING = 1_000
LEFT_OUT_INTERVAL_S = 60.0


class AlertsSink:
    """One replica, all partitions."""

    def __init__(
        self,
        settings: ConsumerSettings,
        rules: Rules,
        url: str | None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._group, self._topic = settings.group_id, settings.kafka_topic
        self._scope = f"{self._group}/{self._topic}"
        self._rules = rules
        self._url = url
        self._wall_ms = wall_ms
        self._log = get_logger()
        self._metrics = Metrics(CollectorRegistry(), self._group, self._topic)
        self._folder = StateFolder(settings.alerts_dir)
        self._engine = Engine(rules, self._scope, State(rules.window_s))
        self._silence = Silence(round(rules.idle_s / TICK_S))
        self._pending: dict[str, Alarm] = {}
        self._raised: list[Alarm] = []
        self._saving = asyncio.Lock()
        self._unsaved = False
        self._left_out: Counter[str] = Counter()
        self._left_out_told_at = float("-inf")
        self._webhook: Webhook | None = None
        self._courier: Courier | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> AlertsSink:
        """Raises InvalidSettings for a file of rules, or an address, that cannot be used."""
        return cls(settings, _rules_of(settings.alerts_file), webhook_url(settings))

    def measure(self, metrics: Metrics) -> None:
        """Count there from now on."""
        self._metrics = metrics

    async def open(self) -> None:
        await self._folder.open()
        saved = self._folder.load(self._scope)
        if saved is not None:
            self._go_on_with(saved)
        if self._url is not None:
            self._webhook = Webhook(self._url, self._group, self._topic)
            backoff = Backoff(WEBHOOK_RETRY_FIRST_S, WEBHOOK_RETRY_LONGEST_S, random.random)
            self._courier = Courier(self._webhook.post, self._settle, backoff, self._log)
            self._tasks.append(asyncio.create_task(self._courier.run()))
        self._tell(list(self._pending.values()))
        self._tasks.append(asyncio.create_task(self._tick_for_ever()))

    def _go_on_with(self, saved: Saved) -> None:
        state = saved.counting
        if state.window_s != self._rules.window_s:
            self._log.warning("alert_windows_discarded", before_s=state.window_s, window_s=self._rules.window_s)
            state = State(self._rules.window_s, offsets=state.offsets, newest_ms=dict.fromkeys(state.newest_ms))
        self._engine = Engine(self._rules, self._scope, state)
        self._pending = {alarm.id: alarm for alarm in saved.pending}

    async def resume(self, _topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """Where the state has come to. Between that and what the group has committed there is no record."""
        self._engine.know(partitions)
        self._silence.listen(partitions)
        state = self._engine.state
        if missing := sorted(state.newest_ms.keys() - set(partitions)):
            self._log.warning("alert_partitions_missing", partitions=missing)
        return {partition: state.offsets[partition] for partition in partitions if partition in state.offsets}

    async def write(self, batch: DecodedBatch) -> None:
        self._check_tasks()
        counted_to = self._engine.state.offsets.get(batch.partition, 0)
        if batch.end_offset is not None and counted_to > batch.end_offset:
            raise FatalError(
                f"ALERTS_DIR has counted partition {batch.partition} up to {counted_to - 1}, but it ends before "
                f"{batch.end_offset}: the topic was made anew. Move the state file away."
            )
        observations = [observe(*pair) for pair in zip(batch.records, batch.offsets, strict=True)]
        self._silence.heard(batch.partition)
        self._raise(self._engine.take(batch.partition, observations, batch.next_offset, self._wall_ms()))

    async def skip(self, batch: DecodedBatch) -> None:
        """Nothing to count, and no sign of life: a partition of which nothing is counted holds no window open."""
        self._raise(self._engine.take(batch.partition, (), batch.next_offset, self._wall_ms()))

    async def flush(self) -> None:
        self._check_tasks()
        try:
            await self._save()
        except OSError as error:
            raise SinkUnavailable(f"the state in ALERTS_DIR cannot be written: {error.strerror}") from error

    def forget(self, partitions: Collection[int]) -> None:
        """What is counted stays counted: the offsets say so, and `resume` tells them when the partitions are back."""
        self._silence.forget(partitions)

    async def close(self) -> None:
        if self._courier is not None:
            await self._courier.finish(FINISH_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._webhook is not None:
            await self._webhook.close()
        self._folder.close()

    def _check_tasks(self) -> None:
        """What goes wrong beside the records must not go unseen."""
        for task in self._tasks:
            if task.done():
                task.result()

    def _raise(self, alarms: Sequence[Alarm]) -> None:
        """Not told before they are saved: after a crash now, the same records raise them again."""
        self._raised += alarms
        self._pending.update((alarm.id, alarm) for alarm in alarms)
        self._left_out += self._engine.left_out
        for reason, count in self._engine.left_out.items():
            self._metrics.alert_records_left_out(reason, count)
        self._engine.left_out.clear()

    async def _save(self) -> None:
        """Raises OSError."""
        async with self._saving:
            self._drop_surplus()
            raised, self._raised = self._raised, []
            try:
                await self._folder.save(Saved(VERSION, self._scope, self._engine.state, list(self._pending.values())))
            except BaseException:
                self._raised = raised + self._raised
                self._unsaved = True
                raise
            self._unsaved = False
        self._tell(raised)
        self._tell_left_out()

    def _drop_surplus(self) -> None:
        surplus = len(self._pending) - MAX_PENDING
        if surplus <= 0:
            return
        untold = {alarm.id for alarm in self._raised}
        told = [alarm for alarm in self._pending.values() if alarm.id not in untold]
        for alarm in told[:surplus]:
            del self._pending[alarm.id]
            if self._courier is not None:
                self._courier.drop(alarm)
            self._metrics.alarm_settled("dropped")
            self._log.error("alarm_dropped", id=alarm.id, rule=alarm.rule, pending=MAX_PENDING)

    def _tell(self, saved: Sequence[Alarm]) -> None:
        """Saved alarms: to the log now, to the webhook when it takes them."""
        for alarm in saved:
            self._metrics.alarm_raised(alarm.rule)
            self._log.warning("alarm", **fields_of(alarm))
        if self._courier is not None:
            self._courier.accept(saved)
        else:
            for alarm in saved:
                self._pending.pop(alarm.id, None)
        self._metrics.alarms_pending(len(self._pending))

    async def _settle(self, alarm: Alarm, verdict: Verdict) -> None:
        self._pending.pop(alarm.id, None)
        self._metrics.alarm_settled(verdict.name.lower())
        self._metrics.alarms_pending(len(self._pending))
        await self._save_beside()

    async def _save_beside(self) -> None:
        """Without a caller who could wait: what fails is tried again at the next tick, and `flush` says it too."""
        first = not self._unsaved
        try:
            await self._save()
        except OSError as error:
            if first:
                self._log.warning("alert_state_unsaved", error=error.strerror)

    async def _tick_for_ever(self) -> None:
        """Without records no call comes from outside, and a window must close all the same."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._unsaved:
                self._silence.interrupt()  # nothing is polled then
                await self._save_beside()
                continue
            alarms = self._engine.advance(self._silence.tick(), self._wall_ms())
            self._raise(alarms)
            if alarms:
                await self._save_beside()
            self._tell_left_out()

    def _tell_left_out(self) -> None:
        now = time.monotonic()
        if self._left_out and now - self._left_out_told_at >= LEFT_OUT_INTERVAL_S:
            self._log.warning("alert_records_left_out", **self._left_out)
            self._left_out.clear()
            self._left_out_told_at = now


def _rules_of(file: Path | None) -> Rules:
    if file is None:
        return Rules()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        because = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise InvalidSettings(f"ALERTS_FILE={file} cannot be read: {because}.") from error
    return parse_rules(text, str(file))
