"""RabbitMQ's classic and quorum queues, over AMQP 0.9.1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiormq.abc import ChannelFrame
from aiormq.exceptions import AMQPError as WireError
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.common import FieldValue
from pamqp.frame import marshal
from pamqp.header import ContentHeader

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
from bench.brokers.messages import in_batches
from bench.brokers.rabbitmq import HOW_TO_GET, MEMORY, USER, WATCHED, RabbitBroker, find_version
from compose.local.ports import LOOPBACK

QueueArguments = dict[str, FieldValue]
LOSSES = (AMQPError, WireError, ChannelInvalidStateError, ConnectionError, asyncio.TimeoutError, RuntimeError)
"""What the client raises when the broker goes away; a closed transport is a RuntimeError to it."""
CLASSIC: QueueArguments = {"x-queue-type": "classic", "x-queue-version": 2}
QUORUM: QueueArguments = {"x-queue-type": "quorum"}
RECONNECT_INTERVAL_S = 0.2
OPEN_TIMEOUT_S = 60.0
CONSUME_TIMEOUT_S = 5.0
"""A quorum queue that is not led yet may forget a request, and the node waits a minute for its answer."""
FILL_BATCH_SIZE = 200
COUNT_INTERVAL_S = 0.1
EQUAL_SHARE = "1"
"""How much of the hash ring a queue gets."""


class QueuePublisher:
    """Confirmed, persistent; the key is the routing key."""

    def __init__(self, exchange: AbstractExchange) -> None:
        self._exchange = exchange

    async def publish(self, key: bytes, value: bytes) -> None:
        message = aio_pika.Message(value, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        try:
            await self._exchange.publish(message, key.decode())
        except LOSSES as error:
            raise BrokerLost(str(error)) from error


class QueueConsumer:
    """Acknowledges a batch by its last message."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._last: AbstractIncomingMessage | None = None

    async def take(self, message: AbstractIncomingMessage) -> None:
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
            await self._last.ack(multiple=True)
        except LOSSES as error:
            raise BrokerLost(str(error)) from error


class QueueClient:
    """A fanout exchange, and for each group one queue; with order by key, a hash ring of a queue per worker."""

    def __init__(self, address: str, queue_arguments: QueueArguments) -> None:
        self._url = f"amqp://{USER}:{USER}@{LOOPBACK}:{address.partition(',')[0]}/"
        self._queue_arguments = queue_arguments

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """It comes back by itself, with its consumers."""
        async with await aio_pika.connect_robust(self._url, reconnect_interval=RECONNECT_INTERVAL_S) as connection:
            yield await connection.channel()

    async def create(self, topology: Topology) -> None:
        async with self._channel() as channel:
            await channel.declare_exchange(topology.name, aio_pika.ExchangeType.FANOUT, durable=True)

    async def create_group(self, topology: Topology, group: str) -> None:
        async with self._channel() as channel:
            if topology.order is not Order.KEYED:
                queue = await self._declare(channel, topology, group)
                await queue.bind(topology.name)
                return
            ring = await channel.declare_exchange(
                f"{topology.name}.{group}", aio_pika.ExchangeType.X_CONSISTENT_HASH, durable=True
            )
            await ring.bind(topology.name)
            for worker in range(topology.worker_count):
                queue = await self._declare(channel, topology, group, worker)
                await queue.bind(ring, EQUAL_SHARE)

    async def _declare(
        self, channel: AbstractChannel, topology: Topology, group: str, worker: int = 0
    ) -> AbstractQueue:
        """The queue of a worker, or of all workers where there is no ring. Declaring twice changes nothing."""
        arguments = dict(self._queue_arguments)
        name = f"{topology.name}.{group}"
        if topology.order is Order.TOTAL:
            arguments["x-single-active-consumer"] = True
        if topology.order is Order.KEYED:
            name = f"{name}.{worker}"
        return await channel.declare_queue(name, durable=True, arguments=arguments)

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Frames made by hand, many to a write and none confirmed; then the queue is asked until it has all."""
        async with await aiormq.connect(self._url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            count = 0
            for values in in_batches((value for _key, value in messages), FILL_BATCH_SIZE):
                payload = b"".join(_frames(channel.number, topology.name, value) for value in values)
                written = connection.loop.create_future()
                await connection.write_queue.put(
                    ChannelFrame(payload=payload, should_close=False, drain_future=written)
                )
                await written
                count += len(values)
            queue = f"{topology.name}.{group}"
            while (await channel.queue_declare(queue, passive=True)).message_count != count:
                await asyncio.sleep(COUNT_INTERVAL_S)

    @asynccontextmanager
    async def publisher(self, topology: Topology) -> AsyncIterator[QueuePublisher]:
        async with self._channel() as channel:
            yield QueuePublisher(await channel.get_exchange(topology.name, ensure=False))

    @asynccontextmanager
    async def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AsyncIterator[QueueConsumer]:
        if replay:
            raise NotOffered("an acknowledged message is removed from its queue")
        async with AsyncExitStack() as stack:
            consumer = QueueConsumer()
            await self._consume(stack, consumer, topology, group, worker)
            yield consumer

    async def _consume(
        self, stack: AsyncExitStack, consumer: QueueConsumer, topology: Topology, group: str, worker: int
    ) -> None:
        """A node that has just started answers INTERNAL_ERROR for quorum queues that have no leader yet."""
        give_up_at = time.monotonic() + OPEN_TIMEOUT_S
        while True:
            async with AsyncExitStack() as attempt:
                try:
                    channel = await attempt.enter_async_context(self._channel())
                    await channel.set_qos(topology.prefetch)
                    queue = await self._declare(channel, topology, group, worker)
                    await queue.consume(consumer.take, timeout=CONSUME_TIMEOUT_S)
                except LOSSES as error:
                    if time.monotonic() > give_up_at:
                        raise BrokerLost(str(error)) from error
                else:
                    stack.push_async_exit(attempt.pop_all())
                    return
            await asyncio.sleep(RECONNECT_INTERVAL_S)


def _frames(channel: int, exchange: str, value: bytes) -> bytes:
    """A persistent message on the wire."""
    properties = spec.Basic.Properties(delivery_mode=2)
    frames = (spec.Basic.Publish(exchange=exchange), ContentHeader(0, len(value), properties), ContentBody(value))
    return b"".join(marshal(frame, channel) for frame in frames)


_SETTINGS = (
    f"persistent, publisher confirms, prefetch {IN_FLIGHT}, {FEW_AHEAD} where workers share or order is "
    f"looked at, one acknowledgement a batch, a new connection tried after {RECONNECT_INTERVAL_S:g} s"
)
_NOTES = {
    "workers": "keyed is a consistent-hash exchange with a queue per worker, total a single active consumer",
    "broker-killed": "version 3.10 may lose a queue, its metadata and not its messages, that was made in the seconds "
    "before a SIGKILL (seen): this is why brokers are started again in order before the run",
    "backlog": MEMORY,
    "operating": WATCHED,
}


def _candidate(name: str, durability: Durability, kind: str, queue_arguments: QueueArguments, stored: str) -> Candidate:
    return Candidate(
        name=name,
        system=name,
        durability=durability,
        settings=f"{kind}, {_SETTINGS}",
        make_broker=RabbitBroker,
        make_client=partial(QueueClient, queue_arguments=queue_arguments),
        find_version=find_version,
        how_to_get=HOW_TO_GET,
        notes={**_NOTES, "stored": stored},
    )


CANDIDATES = (
    _candidate(
        "RabbitMQ classic",
        Durability.PAGE_CACHE,
        "classic queues, x-queue-version=2",
        CLASSIC,
        "bodies below 4,096 bytes, as all are here, lie in each queue; larger ones would be shared by the queues",
    ),
    _candidate(
        "RabbitMQ quorum",
        Durability.DISK,
        "quorum queues of one replica",
        QUORUM,
        "what is seen is the write-ahead log; segments of the queues follow when it is full",
    ),
)
