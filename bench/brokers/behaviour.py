"""What a broker does with a few hundred messages, asked one by one. The questions know no broker."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.brokers.broker import FEW_AHEAD, BrokerLost, Client, Consumer, NotOffered, Order, Publisher, Topology
from bench.brokers.journal import count_late
from bench.brokers.messages import message, number_and_due

ANSWER_TIMEOUT_S = 40.0
ASKING_TIMEOUT_S = 180.0
"""For all of it."""
QUIET_S = 3.0
"""When nothing has come for so long, nothing comes any more; longer than a message stays hidden at SQS."""
TRY_AGAIN_INTERVAL_S = 0.05
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Counts, out of `published` messages."""

    published: int
    each_of_two_groups: int
    """What the group that got less got."""
    smaller_share: int
    """What the worker that got less of two got."""
    late_group: int
    """What a group saw that was made after the publishing."""
    replayed: int
    """What a group that had read everything got again when it asked."""
    taken: int
    """What a worker took and did not acknowledge before it left."""
    redelivered: int
    """How many of these came again."""
    late_plain: int
    """Published one by one, then read by two workers: how many came after a later one."""
    late_ordered: int
    """The same where total order was asked for."""


async def behaviour_of(client: Client, count: int) -> Behaviour:
    """Ask everything. Raises BrokerLost, TimeoutError; not bounded in time."""
    topology = Topology(f"behaviour-{uuid.uuid4().hex[:8]}", WORKERS)
    await client.create(topology)
    for group in ("first", "second", "forgetful"):
        await client.create_group(topology, group)
    shares, second = await _read_while_publishing(client, topology, count)
    await client.create_group(topology, "late")
    taken, redelivered = await _redelivered(client, topology)
    return Behaviour(
        published=count,
        each_of_two_groups=min(sum(shares), second),
        smaller_share=min(shares),
        late_group=await _count(client, topology, "late"),
        replayed=await _count(client, topology, "first", replay=True),
        taken=taken,
        redelivered=redelivered,
        late_plain=await _count_late(client, Order.NONE, count),
        late_ordered=await _count_late(client, Order.TOTAL, count),
    )


async def publish_all(client: Client, topology: Topology, count: int) -> None:
    """All at once, each until it is confirmed."""
    async with client.publisher(topology) as publisher:
        await asyncio.gather(*(_publish(publisher, number) for number in range(count)))


async def _publish(publisher: Publisher, number: int) -> None:
    """Again where the broker refuses: it may accept before what it was told to hold is there again."""
    while True:
        try:
            await publisher.publish(*message(number, 0))
        except BrokerLost:
            await asyncio.sleep(TRY_AGAIN_INTERVAL_S)
        else:
            return


async def _read_while_publishing(client: Client, topology: Topology, count: int) -> tuple[list[int], int]:
    """Different messages by worker of the first group, and those of the second group's."""
    async with AsyncExitStack() as stack:
        places = [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
        workers = [await stack.enter_async_context(client.consumer(topology, *place)) for place in places]
        published = asyncio.Event()
        reading = [asyncio.create_task(read(worker, published)) for worker in workers]
        await publish_all(client, topology, count)
        published.set()
        got = [len(set(numbers)) for numbers in await asyncio.gather(*reading)]
    return got[:2], got[2] + got[3]


async def read(worker: Consumer, published: asyncio.Event | None = None, numbers: list[int] | None = None) -> list[int]:
    """The numbers of what comes until it is quiet, after the publishing; behind `numbers`, which workers may share."""
    numbers = [] if numbers is None else numbers
    while True:
        try:
            values = await asyncio.wait_for(worker.receive(), QUIET_S)
        except TimeoutError:
            if published is None or published.is_set():
                return numbers
            continue
        numbers += [number_and_due(value)[0] for value in values]
        await worker.acknowledge()


async def _count_late(client: Client, order: Order, count: int) -> int:
    """Of what is published one after the other and lies there when two workers begin to read."""
    topology = Topology(f"order-{uuid.uuid4().hex[:8]}", WORKERS, order, FEW_AHEAD)
    await client.create(topology)
    await client.create_group(topology, "group")
    async with client.publisher(topology) as publisher:
        for number in range(count):
            await _publish(publisher, number)
    numbers: list[int] = []
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(client.consumer(topology, "group", place)) for place in range(WORKERS)
        ]
        await asyncio.gather(*(read(worker, numbers=numbers) for worker in workers))
    return count_late(dict.fromkeys(numbers))


async def _count(client: Client, topology: Topology, group: str, *, replay: bool = False) -> int:
    """Different messages that the workers of a group get now."""
    try:
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(client.consumer(topology, group, worker, replay=replay))
                for worker in range(WORKERS)
            ]
            got = await asyncio.gather(*(read(worker) for worker in workers))
    except NotOffered:
        return 0
    return len({number for numbers in got for number in numbers})


async def _redelivered(client: Client, topology: Topology) -> tuple[int, int]:
    """A worker takes messages and leaves; then the group reads."""
    async with client.consumer(topology, "forgetful", 0) as worker:
        taken = {number_and_due(value)[0] for value in await asyncio.wait_for(worker.receive(), ANSWER_TIMEOUT_S)}
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(client.consumer(topology, "forgetful", place)) for place in range(WORKERS)
        ]
        got = await asyncio.gather(*(read(worker) for worker in workers))
    return len(taken), len(taken & {number for numbers in got for number in numbers})
