"""RabbitMQ streams, over their own protocol: a log that reading does not empty.

A group of several workers has a stream for each, as a super stream has, and worker N reads stream N.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

from rstream import (
    AMQPMessage,
    ConfirmationStatus,
    ConsumerOffsetSpecification,
    MessageContext,
    OffsetNotFound,
    OffsetType,
    OnClosedErrorInfo,
    Producer,
    RawMessage,
)
from rstream import Consumer as StreamReader

from bench.brokers.broker import BATCH_SIZE, IN_FLIGHT, BrokerLost, Candidate, Durability, Order, Topology
from bench.brokers.messages import in_batches
from bench.brokers.rabbitmq import HOW_TO_GET, MEMORY, USER, WATCHED, RabbitBroker, find_version
from compose.local.ports import LOOPBACK

RECONNECT_INTERVAL_S = 0.2
CONNECT_TIMEOUT_S = 1.0
"""A broker that has just started leaves some questions about a stream unanswered; the client would wait for 10 s."""
CLOSE_TIMEOUT_S = 2.0
MOST_IN_A_FRAME = 500
FILL_BATCHES_UNDER_WAY = 20

Waiting = tuple[int, bytes, "asyncio.Future[None]"]


class StreamPublisher:
    """Sends what has gathered while the last frame was written; each message has its own confirmation."""

    def __init__(self, port: int, topology: Topology) -> None:
        self._port = port
        self._streams = _streams(topology)
        self._keyed = topology.order is Order.KEYED
        self._turns = count()
        self._publishing_ids = count(1)
        self._gathered: list[Waiting] = []
        self._sent: dict[int, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._producer: Producer | None = None

    async def publish(self, key: bytes, value: bytes) -> None:
        confirmed = asyncio.get_running_loop().create_future()
        place = (zlib.crc32(key) if self._keyed else next(self._turns)) % len(self._streams)
        self._gathered.append((place, value, confirmed))
        self._wake.set()
        await confirmed

    async def run(self) -> None:
        """Until cancelled. The client is thrown away after any failure: its own recovery forgets confirmations."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                gathered, self._gathered = self._gathered, []
                timeout_s = CONNECT_TIMEOUT_S if self._producer is None else None
                try:
                    await asyncio.wait_for(self._send(gathered), timeout_s)
                except Exception as error:  # noqa: BLE001 -- the client raises what its transport does, of any kind
                    await self._give_up(gathered, error)
        finally:
            await self._close()

    async def _send(self, gathered: Sequence[Waiting]) -> None:
        if self._producer is None:
            self._producer = await open_producer(self._port, self._on_closed)
        for place, stream in enumerate(self._streams):
            chosen = [(value, confirmed) for to, value, confirmed in gathered if to == place]
            for batch in in_batches(chosen, MOST_IN_A_FRAME):
                messages = []
                for value, confirmed in batch:
                    number = next(self._publishing_ids)
                    self._sent[number] = confirmed
                    messages.append(RawMessage(value, number))
                await self._producer.send_batch(stream, messages, on_publish_confirm=self._on_confirmation)

    def _on_confirmation(self, status: ConfirmationStatus) -> None:
        confirmed = self._sent.pop(status.message_id, None)
        if confirmed is None or confirmed.done():
            return
        if status.is_confirmed:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(BrokerLost(f"not confirmed: {status.response_code}"))

    async def _on_closed(self, info: OnClosedErrorInfo) -> None:
        self._fail_sent(BrokerLost(str(info.reason)))
        self._producer = None

    async def _give_up(self, gathered: Sequence[Waiting], error: Exception) -> None:
        await self._close()
        self._fail_sent(BrokerLost(str(error)))
        for _place, _value, confirmed in gathered:
            if not confirmed.done():
                confirmed.set_exception(BrokerLost(str(error)))
        await asyncio.sleep(RECONNECT_INTERVAL_S)

    def _fail_sent(self, error: BrokerLost) -> None:
        sent, self._sent = self._sent, {}
        for confirmed in sent.values():
            if not confirmed.done():
                confirmed.set_exception(error)

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # of a connection that is gone
                await asyncio.wait_for(producer.close(), CLOSE_TIMEOUT_S)


class StreamConsumer:
    """Stores its offset at the broker after each batch."""

    def __init__(self, port: int, stream: str, group: str, *, replay: bool) -> None:
        self._port = port
        self._stream = stream
        self._group = group
        self._replay = replay
        self._reader: StreamReader | None = None
        self._arrived: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue(IN_FLIGHT)
        self._done_offset = -1

    async def receive(self) -> Sequence[bytes]:
        while True:
            first = await self._arrived.get()
            if first is None:
                await self.reopen()
                continue
            taken = [first]
            while len(taken) < BATCH_SIZE and not self._arrived.empty():
                following = self._arrived.get_nowait()
                if following is None:
                    self._arrived.put_nowait(None)
                    break
                taken.append(following)
            self._done_offset = taken[-1][1]
            return [value for value, _offset in taken]

    async def acknowledge(self) -> None:
        if self._reader is None:
            raise BrokerLost("there is no connection")
        try:
            await self._reader.store_offset(self._stream, self._group, self._done_offset)
        except Exception as error:  # the client raises what its transport does, of any kind
            raise BrokerLost(str(error)) from error

    async def reopen(self) -> None:
        """Connect until it is done, behind what was stored."""
        while True:
            try:
                await self.close()
                await asyncio.wait_for(self._open(), CONNECT_TIMEOUT_S)
            except Exception:  # noqa: BLE001 -- as above
                await asyncio.sleep(RECONNECT_INTERVAL_S)
            else:
                return

    async def _open(self) -> None:
        arrived: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue(IN_FLIGHT)

        async def take(message: AMQPMessage, context: MessageContext) -> None:
            await arrived.put((bytes(message), context.offset))

        async def on_closed(info: OnClosedErrorInfo) -> None:
            while not arrived.empty():
                arrived.get_nowait()
            arrived.put_nowait(None)

        reader = StreamReader(LOOPBACK, self._port, username=USER, password=USER, on_close_handler=on_closed)
        self._reader = reader
        self._arrived = arrived
        await reader.start()
        await reader.subscribe(self._stream, take, offset_specification=await self._start(reader))

    async def _start(self, reader: StreamReader) -> ConsumerOffsetSpecification:
        if self._replay:
            return ConsumerOffsetSpecification(OffsetType.FIRST, None)
        try:
            stored = await reader.query_offset(self._stream, self._group)
        except OffsetNotFound:
            return ConsumerOffsetSpecification(OffsetType.FIRST, None)
        return ConsumerOffsetSpecification(OffsetType.OFFSET, stored + 1)

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(Exception):  # of a connection that is gone
                await asyncio.wait_for(reader.close(), CLOSE_TIMEOUT_S)


class IdleConsumer:
    """A worker without a stream."""

    async def receive(self) -> Sequence[bytes]:
        await asyncio.Event().wait()
        return []

    async def acknowledge(self) -> None: ...


class StreamClient:
    """Named by the second port of the address."""

    def __init__(self, address: str) -> None:
        self._port = int(address.partition(",")[2])

    async def create(self, topology: Topology) -> None:
        producer = await open_producer(self._port)
        for stream in _streams(topology):
            await producer.create_stream(stream)
        await producer.close()

    async def create_group(self, topology: Topology, group: str) -> None:
        """Nothing is to be done: the log is stored once and a group is an offset in it."""

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        async with self.publisher(topology) as publisher:
            under_way: list[asyncio.Future[list[None]]] = []
            for batch in in_batches(messages, MOST_IN_A_FRAME):
                under_way.append(asyncio.gather(*(publisher.publish(key, value) for key, value in batch)))
                if len(under_way) == FILL_BATCHES_UNDER_WAY:
                    await under_way.pop(0)
            await asyncio.gather(*under_way)

    @asynccontextmanager
    async def publisher(self, topology: Topology) -> AsyncIterator[StreamPublisher]:
        publisher = StreamPublisher(self._port, topology)
        running = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            running.cancel()
            await asyncio.wait([running])

    @asynccontextmanager
    async def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AsyncIterator[StreamConsumer | IdleConsumer]:
        streams = _streams(topology)
        if worker >= len(streams):
            yield IdleConsumer()
            return
        consumer = StreamConsumer(self._port, streams[worker], group, replay=replay)
        try:
            await consumer.reopen()
            yield consumer
        finally:
            await consumer.close()


async def open_producer(port: int, on_closed: Callable[[OnClosedErrorInfo], Awaitable[None]] | None = None) -> Producer:
    """Connected."""
    producer = Producer(LOOPBACK, port, username=USER, password=USER, on_close_handler=on_closed)
    await producer.start()
    return producer


def _streams(topology: Topology) -> list[str]:
    return [f"{topology.name}-{place}" for place in range(topology.log_count)]


CANDIDATES = (
    Candidate(
        name="RabbitMQ streams",
        system="RabbitMQ streams",
        durability=Durability.PAGE_CACHE,
        settings="a stream per worker and one for total order, unnamed publisher with confirms, RawMessage (the body "
        "without the sections of AMQP 1.0), offset stored at the broker after each batch, a new connection tried after "
        f"{RECONNECT_INTERVAL_S:g} s, and another where it gives no stream within {CONNECT_TIMEOUT_S:g} s",
        make_broker=RabbitBroker,
        make_client=StreamClient,
        find_version=find_version,
        how_to_get=HOW_TO_GET,
        notes={
            "throughput": "the client sends together what has gathered while its last frame was written",
            "workers": "keyed is the stream of the key, total is one stream; plain takes the streams in turn",
            "worker-killed": "version 3.10 has no single active consumer for streams, as later ones have: each worker "
            "keeps its stream, and nobody takes over",
            "backlog": f"{MEMORY}; the backlog lies in files",
            "operating": WATCHED,
        },
    ),
)
