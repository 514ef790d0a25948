"""One membership of a consumer group: batches out, offsets in, the client's traps kept inside.

What aiokafka 0.14 does and what is done about it here:

- It commits what was fetched, not what was processed: its auto-commit is off, offsets are always given.
- It leaves the group when polls are too far apart, and a cancelled or raising `getmany` disables that check for good:
  the check is off. `getmany` runs in a task of its own that nobody cancels while the membership lasts, and after an
  error the owner replaces the whole reader.
- `getmany` blocks without regard to its timeout while partitions are being reassigned: `poll` returns nothing then and
  picks the same fetch up later. What was fetched under an older assignment is dropped.
- Two assignors make it send two JoinGroup requests, and its sticky one shares state in its class: one, round robin.
- Where to begin it asks the coordinator, and takes an error of that for "never committed": the owner asks too, in a way
  that tells the two apart, and seeks.
- `start` blocks until the group has settled: it starts without a subscription and subscribes afterwards.
- `commit` repeats itself for ever while the coordinator is away, and `stop` can hang: both have a limit here.
- A JoinGroup request waits for the slowest member, `rebalance_timeout_ms`: that must be below the request timeout.
- Its positions move over offsets without a record, and its public way to ask for them may wait, so that more is fetched
  meanwhile: they are read from a private name in the moment in which a poll is over. A test notices when it changes.
- The task that asks for metadata can end by an error that nobody sees, and then no coordinator is found: `poll` looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from shared.errors import BrokerUnavailable
from shared.kafka.committed import committed_offsets
from shared.kafka.connection import CLIENT_ERRORS, client_options, ended, partitions_by_name, start_client, translate
from shared.kafka.records import Polled, ReceivedRecord, RecordBatch
from shared.runtime.settings import KafkaSettings

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
HEARTBEATS_PER_SESSION = 4
# How much longer than the poll itself its answer may take before it counts as blocked by a reassignment.
POLL_GRACE_S = 0.05
# The client would leave the group when its owner is slow: the owner judges that itself. 24 days, the protocol's most.
NO_POLL_INTERVAL_MS = 2**31 - 1


class GroupListener(Protocol):
    """Told of reassignments, from the client's task, while heartbeats go on. An exception would only be logged."""

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        """The partitions are about to go: finish and commit what is in flight within the rebalance timeout."""

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        """These are the partitions of this member from now on: all of them, maybe none."""


@dataclass(frozen=True, slots=True)
class Membership:
    """How to be a member of the group.

    `rebalance_timeout_ms` is the time that `on_revoked` has. With `read_committed`, `end_offsets` and the end offset of
    a batch are those up to which all transactions are decided, so that a member reaches them.
    """

    group_id: str
    auto_offset_reset: Literal["earliest", "latest"]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    rack: str | None = None


class GroupReader:
    """A started member. Make it with `start`, end it with `stop`; after any error but OwnershipLost it is spent."""

    def __init__(self, client: AIOKafkaConsumer, group: str, topic: str, listener: GroupListener) -> None:
        self._client = client
        self._group = group
        self._topic = topic
        self._listener = listener
        self._fetch: asyncio.Task[tuple[int, dict[TopicPartition, list[ReceivedRecord]]]] | None = None
        self._sought: dict[int, int] = {}
        self._assignment_number = 0
        self._assigned_now: frozenset[int] = frozenset()
        self._joining_since: float | None = time.monotonic()
        self._stopped = False

    @classmethod
    async def start(cls, settings: KafkaSettings, membership: Membership, listener: GroupListener) -> GroupReader:
        """Connect, and begin to join the group. Raises BrokerUnavailable or AccessDenied and leaves nothing behind.

        The partitions come later, through `listener`.
        """
        client = AIOKafkaConsumer(
            **client_options(settings),
            group_id=membership.group_id,
            enable_auto_commit=False,
            auto_offset_reset=membership.auto_offset_reset,
            isolation_level=membership.isolation_level,
            client_rack=membership.rack,
            session_timeout_ms=membership.session_timeout_ms,
            heartbeat_interval_ms=membership.session_timeout_ms // HEARTBEATS_PER_SESSION,
            rebalance_timeout_ms=membership.rebalance_timeout_ms,
            max_poll_interval_ms=NO_POLL_INTERVAL_MS,
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        )
        reader = cls(client, membership.group_id, settings.kafka_topic, listener)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await start_client(client, settings)
                await reader._check_topic()
            client.subscribe([settings.kafka_topic], listener=_Callbacks(reader))
        except CLIENT_ERRORS as error:
            await reader.stop()
            raise translate(error, "connecting a consumer") from error
        except BaseException:
            await reader.stop()
            raise
        return reader

    async def _check_topic(self) -> None:
        """A member that subscribes to an absent topic gets no partitions and no error: ask first."""
        if not await partitions_by_name(self._client._client, self._topic):
            raise BrokerUnavailable(f"topic {self._topic} does not exist yet; the `topics` service makes it")

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions that the group has given to this member; none while it reassigns them."""
        return self._assigned_now

    @property
    def joining_for_s(self) -> float:
        """Seconds since this member began to wait for its partitions; 0 with an assignment, even an empty one."""
        return 0.0 if self._joining_since is None else time.monotonic() - self._joining_since

    async def poll(self, max_records: int, timeout_s: float) -> Polled:
        """Up to `max_records` records; none when none came in time or the group settles.

        Raises what `translate` makes of the client's error.
        """
        self._check_metadata_task()
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._fetch_records(max_records, timeout_s))
        done, _ = await asyncio.wait({self._fetch}, timeout=timeout_s + POLL_GRACE_S)
        if not done:
            return Polled((), {})
        fetch, self._fetch = self._fetch, None
        if fetch.cancelled() and not self._stopped:  # as when it was refused: nobody here cancels a fetch that goes on
            raise BrokerUnavailable(f"the client gave up reading {self._topic}")
        try:
            assignment_number, received = fetch.result()
        except CLIENT_ERRORS as error:
            raise translate(error, f"reading {self._topic}") from error
        sought, self._sought = self._sought, {}
        if assignment_number != self._assignment_number:
            return Polled((), {})  # others read these again, from the offset that was committed
        received = {place: records for place, records in received.items() if place.partition not in sought}
        self.seek(sought)
        batches = [
            RecordBatch(self._topic, place.partition, records, self._client.highwater(place))
            for place, records in received.items()
        ]
        return Polled(batches, self._read_to())

    def _check_metadata_task(self) -> None:
        """Nobody else looks after it, and without it no coordinator is found again. Raises BrokerUnavailable."""
        client = self._client._client
        task: asyncio.Task[None] | None = client._sync_task
        if task is not None and task.done() and not task.cancelled():
            client._sync_task = None  # closing the client would raise its error again, and leave the connections open
            raise BrokerUnavailable(f"the client has stopped asking for metadata: {task.exception()!r}")

    def _read_to(self) -> dict[int, int]:
        """The positions. Only while no fetch is under way: they are those of all that was returned, and of no more."""
        if not self._assigned_now:
            return {}
        positions = self._client._subscription.subscription.assignment.all_consumed_offsets()
        return {place.partition: found.offset for place, found in positions.items()}

    async def _fetch_records(
        self, max_records: int, timeout_s: float
    ) -> tuple[int, dict[TopicPartition, list[ReceivedRecord]]]:
        received = await self._client.getmany(timeout_ms=round(timeout_s * 1000), max_records=max_records)
        return self._assignment_number, received

    def rest(self, partitions: Collection[int]) -> None:
        """Do not poll these, until a call that leaves them out. To be called between polls, after each assignment too.

        What the client had fetched of them is fetched again.
        """
        assigned = self._client.assignment()
        wanted = {place for place in assigned if place.partition in partitions}
        resting = self._client.paused() & assigned
        if resting - wanted:
            self._client.resume(*(resting - wanted))
        if wanted - resting:
            self._client.pause(*(wanted - resting))

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Go on at these offsets, by partition. What was fetched before them or behind them is dropped.

        A fetch that nobody has picked up yet may hold records from before, and has moved the positions then.
        """
        if self._fetch is not None:
            self._sought.update(offsets)
        assigned = self._client.assignment()
        for partition, offset in offsets.items():
            place = TopicPartition(self._topic, partition)
            if place in assigned:
                self._client.seek(place, offset)

    async def commit(self, next_offsets: Mapping[int, int], timeout_s: float) -> None:
        """Commit the next offset to read, by partition.

        Raises OwnershipLost when a partition is not this member's any more, BrokerUnavailable when it took too long.
        """
        offsets = {TopicPartition(self._topic, partition): offset for partition, offset in next_offsets.items()}
        async with _answered("committing offsets", timeout_s):
            await self._client.commit(offsets)

    async def committed(self, partitions: Collection[int], timeout_s: float) -> dict[int, int | None]:
        """The offset that the group remembers, by partition; None where it never committed.

        Raises BrokerUnavailable when it took too long.
        """
        async with _answered("asking for committed offsets", timeout_s):
            return await committed_offsets(self._client._client, self._group, self._topic, partitions)

    async def first_offsets(self, partitions: Collection[int], timeout_s: float) -> dict[int, int]:
        """The oldest offset that the broker still keeps, by partition. Raises BrokerUnavailable.

        The answer may wait for a fetch that waits for records, half a second: nothing for the way of a record.
        """
        async with _answered("asking for first offsets", timeout_s):
            found = await self._client.beginning_offsets([TopicPartition(self._topic, one) for one in partitions])
        return {place.partition: offset for place, offset in found.items()}

    async def end_offsets(self, partitions: Collection[int], timeout_s: float) -> dict[int, int]:
        """The next offset to be written, by partition. Raises BrokerUnavailable: also the way to see if it answers.

        Asked for no partitions, it asks the broker about the first one all the same, and returns nothing.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions or (0,)]
        async with _answered("asking for end offsets", timeout_s):
            found = await self._client.end_offsets(places)
        return {place.partition: offset for place, offset in found.items() if place.partition in partitions}

    async def position(self, partition: int, timeout_s: float) -> int | None:
        """The next offset that `poll` returns; None when the client does not know it (yet)."""
        try:
            async with asyncio.timeout(timeout_s):
                position: int = await self._client.position(TopicPartition(self._topic, partition))
        except (kafka_errors.KafkaError, TimeoutError):
            return None
        return position

    async def stop(self) -> None:
        """Leave the group and disconnect, within STOP_TIMEOUT_S or a little more. Calls the listener no more."""
        self._stopped = True
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait({self._fetch}, timeout=STOP_TIMEOUT_S)
        if not await ended(self._client.stop(), STOP_TIMEOUT_S):
            await _abandon(self._client)

    async def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        self._assignment_number += 1
        self._sought.clear()
        self._assigned_now = frozenset()
        self._joining_since = time.monotonic()
        if not self._stopped:
            await self._listener.on_revoked(frozenset(place.partition for place in partitions))

    async def _assigned(self, partitions: Collection[TopicPartition]) -> None:
        self._assignment_number += 1
        self._assigned_now = frozenset(place.partition for place in partitions)
        self._joining_since = None
        if not self._stopped:
            await self._listener.on_assigned(self._assigned_now)


class _Callbacks(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """What the client calls."""

    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._reader._revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._reader._assigned(assigned)


@asynccontextmanager
async def _answered(doing: str, timeout_s: float) -> AsyncIterator[None]:
    """The client's errors in our words, and BrokerUnavailable when the time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except CLIENT_ERRORS as error:
        raise translate(error, doing) from error


async def _abandon(client: AIOKafkaConsumer) -> None:
    """End what a `stop` that hangs leaves running: a coordinator that goes on would keep the partitions for a ghost.

    Touches private names of aiokafka 0.14; a test notices when they change.
    """
    coordinator, fetcher = client._coordinator, client._fetcher
    tasks = [
        task
        for task in (
            getattr(coordinator, "_coordination_task", None),
            getattr(coordinator, "_heartbeat_task", None),
            getattr(coordinator, "_commit_refresh_task", None),
            getattr(fetcher, "_fetch_task", None),
            *getattr(fetcher, "_pending_tasks", ()),
        )
        if task is not None and not task.done()
    ]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
    await ended(client._client.close(), STOP_TIMEOUT_S)
