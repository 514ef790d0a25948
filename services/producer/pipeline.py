"""The way of a line, top to bottom: read → parse → send → confirmed → checkpoint."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from services.producer.deliver.checkpoint_writer import CheckpointWriter
from services.producer.deliver.outbox import Outbox
from services.producer.deliver.progress import Progress
from services.producer.deliver.session import HEARTBEAT_INTERVAL_S, Session, Sessions
from services.producer.follow import ChangeNotifier, Follower
from services.producer.ledger import Ledger
from services.producer.metrics import ProducerMetrics
from services.producer.parse import ChunkParser
from shared.backoff import Backoff
from shared.errors import FatalError, Fenced, PipelineError, RetryableError, StandingBy
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown, happens
from shared.runtime.logging import get_logger

NOTHING_TO_DRAIN_TIMEOUT_S = 1.0
# How often Kafka is told what is confirmed, if that changed.
STATE_INTERVAL_S = 1.0
# Files that are there are open by then: what was delivered of others need not be looked for any more.
FILES_FOUND_AFTER_S = 60.0
KNOWN_TO_KAFKA = (
    "there was neither a checkpoint on disk nor a broker at the start, and now Kafka turns out to keep one of this "
    "producer. Start it again: it goes on from there"
)


@dataclass(frozen=True)
class PipelineLimits:
    """How often files are looked at, the checkpoint is written and a session is begun anew; how long a shutdown waits
    for confirmations.
    """

    scan_interval_s: float
    checkpoint_interval_s: float
    drain_timeout_s: float
    fence_interval_s: float


class Pipeline:
    """Runs until a shutdown is requested. Survives every failure of the broker; memory stays bounded throughout."""

    def __init__(
        self,
        follower: Follower,
        parser: ChunkParser,
        outbox: Outbox,
        progress: Progress,
        ledger: Ledger,
        checkpoints: CheckpointWriter,
        is_first_start: bool,
        sessions: Sessions,
        backoff: Backoff,
        limits: PipelineLimits,
        metrics: ProducerMetrics,
        health: Health,
    ) -> None:
        self._follower = follower
        self._parser = parser
        self._outbox = outbox
        outbox.on_change = self.wake_up
        self._progress = progress
        self._ledger = ledger
        self._checkpoints = checkpoints
        self._is_first_start = is_first_start  # as far as disk and Kafka could tell
        self._sessions = sessions
        self._backoff = backoff
        self._limits = limits
        self._metrics = metrics
        self._health = health
        self._log = get_logger()
        self._wake_up = asyncio.Event()  # a file has something to read, a batch failed, or a shutdown was requested
        self._scan_wanted = asyncio.Event()
        self._deadline = asyncio.timeout(None)
        self.session_began_at: float | None = None  # seconds since 1970; None while there is none
        self._failures = 0
        self._confirmed_before = 0

    async def run(self, shutdown: Shutdown) -> None:
        """Raises FatalError when going on makes no sense; whatever was confirmed is in the checkpoint then too."""
        with ChangeNotifier(self._on_file_changed, self._scan_wanted.set) as notifier:
            self._scan(notifier)
            await self._checkpoints.save()
            tasks = [
                asyncio.create_task(self._deliver_until_shutdown(shutdown)),
                asyncio.create_task(self._scan_forever(notifier)),
                asyncio.create_task(self._checkpoints.save_forever(self._limits.checkpoint_interval_s)),
            ]
            waking = asyncio.create_task(self._wake_on_shutdown(shutdown))
            try:
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*tasks, waking):
                    task.cancel()
                await asyncio.wait((*tasks, waking))
                await self._checkpoints.save()
                self._checkpoints.close()
                self._follower.close()
            for task in ended:
                task.result()

    async def _deliver_until_shutdown(self, shutdown: Shutdown) -> None:
        """One session with Kafka after the other. A shutdown sets a deadline for what is in flight."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                while not (shutdown.requested and self._outbox.in_flight_chunks == 0):
                    await self._run_session(shutdown)
        except TimeoutError:
            if not self._deadline.expired():
                raise
            if self._outbox.in_flight_chunks:
                self._log.warning("drain_timed_out", timeout_s=self._limits.drain_timeout_s)
        self._log_what_is_left()

    async def _run_session(self, shutdown: Shutdown) -> None:
        """Connect, deliver until a failure, a shutdown or a renewal, disconnect; after a failure, back off."""
        session = None
        try:
            session = await self._sessions.begin(self._checkpoints.take())
            self._metrics.sessions.inc()
            self.session_began_at = time.time()
            await self._resume(session)
            await self._deliver(session, shutdown)
            await session.publisher.close()
        except RetryableError as error:
            self._on_broker_lost(error)
            if session is not None:
                await session.publisher.abandon()
            await self._back_off(shutdown)
        except Fenced as error:
            if session is not None:
                await session.publisher.abandon()
            raise await self._sessions.explain(error) from error
        except BaseException:
            if session is not None:
                await session.publisher.abandon()
            raise

    async def _resume(self, session: Session) -> None:
        """Take over what the session found, have it written down, and send what an earlier one left unconfirmed."""
        if self._is_first_start and session.found.sequence:
            # No broker told it better at the start. Nothing was sent yet.
            await self._checkpoints.give_up_for(session.found)
            raise FatalError(KNOWN_TO_KAFKA)
        self._is_first_start = False
        self._checkpoints.count_on_from(session.found)
        self._progress.raise_floors(session.found.files)
        self._outbox.use(session)
        if session.keeper is not None:
            await session.keeper.save(self._checkpoints.take())
        await self._outbox.resend()

    async def _deliver(self, session: Session, shutdown: Shutdown) -> None:
        """Lines flow until the session is to end; then what is in flight is waited for."""
        ended = asyncio.Event()
        keeping = asyncio.create_task(self._keep_state(session, ended))
        try:
            await self._pump(session, shutdown)
            await self._outbox.drain()
            ended.set()
            await keeping
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        self._outbox.check()
        if shutdown.requested and session.keeper is not None:
            await session.keeper.save(self._checkpoints.take(), released=True)

    async def _keep_state(self, session: Session, ended: asyncio.Event) -> None:
        """Write to Kafka what is confirmed, and that this producer is alive.

        It is not cut short while the session lasts: what the keeper counts as written must be written.
        """
        if session.keeper is None:
            return
        kept_changes, kept_at = self._progress.changes, time.monotonic()
        began_at = kept_at
        while not await happens(ended, STATE_INTERVAL_S):
            if time.monotonic() - began_at > FILES_FOUND_AFTER_S:
                self._outbox.forget_others_than(self._open_generations())
            now, changes = time.monotonic(), self._progress.changes
            if changes == kept_changes and now - kept_at < HEARTBEAT_INTERVAL_S:
                continue
            try:
                await session.keeper.save(self._checkpoints.take())
            except PipelineError as error:
                self._outbox.fail(error)
                return
            kept_changes, kept_at = changes, now

    async def _back_off(self, shutdown: Shutdown) -> None:
        delay_s = self._backoff.delay_s(self._failures)
        if shutdown.requested:
            await asyncio.sleep(delay_s)  # another try for what is in flight, until the deadline
        else:
            await shutdown.wait_at_most(delay_s)

    async def _pump(self, session: Session, shutdown: Shutdown) -> None:
        """The loop that lines flow through. Raises the failure of the session."""
        renew_at = time.monotonic() + self._limits.fence_interval_s
        while not shutdown.requested and time.monotonic() < renew_at:
            self._outbox.check()
            if session.publisher.partitions_were_added():
                self._log.info("partitions_added")
                return
            self._note_recovery()
            self._wake_up.clear()
            if not self._outbox.has_room:
                await self._sleep(self._limits.scan_interval_s)
                continue
            chunk = self._follower.next_chunk(time.monotonic())
            if chunk is None:
                await self._sleep(0 if self._follower.has_more else self._limits.scan_interval_s)
                continue
            parsed = self._parser.parse(chunk)
            self._metrics.on_read(parsed)
            self._ledger.read(parsed)
            await self._outbox.submit(parsed)
            await asyncio.sleep(0)  # the client sends while the next chunk is parsed

    async def _scan_forever(self, notifier: ChangeNotifier) -> None:
        """Also while the broker is away: a file that is rotated twice meanwhile must have been seen in between."""
        while True:
            # What no file system announces is seen when the time is over.
            await happens(self._scan_wanted, self._limits.scan_interval_s)
            self._scan_wanted.clear()
            self._health.progressed()
            self._scan(notifier)
            self._wake_up.set()

    def _scan(self, notifier: ChangeNotifier) -> None:
        self._follower.scan(time.monotonic())
        notifier.watch(self._follower.directories())
        self._progress.hold(self._open_generations())
        for file in self._follower.take_opened():
            self._progress.open(file)
            self._ledger.open(file)
        for event in self._follower.take_events():
            self._metrics.file_events.labels(event.name).inc()
            log = self._log.warning if event.level == "warning" else self._log.info
            log(event.name, path=event.path, **event.details)
            if event.lost_bytes:
                self._ledger.abandon(event.generation, event.lost_bytes)
                self._metrics.on_abandoned(event.lost_bytes)

    def _open_generations(self) -> set[str]:
        return {file.identity.generation for file in self._follower.files if file.identity is not None}

    async def _sleep(self, seconds: float) -> None:
        """Until there is something to do, at most so long; then deadlines are looked at."""
        await happens(self._wake_up, seconds)

    def _on_file_changed(self, path: str) -> None:
        if self._follower.notice(path):
            self._wake_up.set()

    def wake_up(self) -> None:
        """There is something to do: room for a chunk, or a failure."""
        self._wake_up.set()

    async def _wake_on_shutdown(self, shutdown: Shutdown) -> None:
        await shutdown.wait()
        self._wake_up.set()
        timeout_s = self._limits.drain_timeout_s
        if self._outbox.in_flight_chunks == 0:
            timeout_s = min(timeout_s, NOTHING_TO_DRAIN_TIMEOUT_S)  # an attempt to connect may be under way
        self._deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)

    def _on_broker_lost(self, error: RetryableError) -> None:
        """Told once per loss. A connection over which nothing was confirmed does not end it."""
        if self._outbox.confirmed_chunks > self._confirmed_before:
            self._failures = 0
        self._confirmed_before = self._outbox.confirmed_chunks
        self._failures += 1
        self._metrics.connected.set(0)
        self.session_began_at = None
        self._health.not_ready_because = str(error)
        if self._failures == 1:
            self._log.warning(
                "standing_by" if isinstance(error, StandingBy) else "broker_unavailable",
                error=str(error),
                in_flight_bytes=self._outbox.in_flight_bytes,
            )

    def _note_recovery(self) -> None:
        """The broker is back when it confirms, or when there is nothing that it could confirm."""
        if self._health.ready:
            return
        if self._outbox.in_flight_chunks == 0 or self._outbox.confirmed_chunks > self._confirmed_before:
            self._failures = 0
            self._metrics.connected.set(1)
            self._health.not_ready_because = None
            self._log.info("broker_connected", in_flight_bytes=self._outbox.in_flight_bytes)

    def _log_what_is_left(self) -> None:
        """What the next start will send, or send again."""
        in_flight = self._outbox.in_flight_bytes
        unread = sum(max(0, file.size - file.position) for file in self._follower.files)
        self._log.info("producer_stopped", unconfirmed_bytes=in_flight, unread_bytes=unread)
