"""AWS SNS with SQS behind it, as moto imitates them: what they do, never how fast."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from bench.brokers.broker import BrokerLost, Candidate, Durability, NotOffered, Order, Topology
from bench.brokers.program import Program, files_bytes, own_port
from compose.local.ports import LOOPBACK

REGION = "us-east-1"
FIFO = ".fifo"
RECEIVE_COUNT = 10
"""The most that SQS gives at once."""
RECEIVE_INTERVAL_S = 0.05
VISIBILITY_TIMEOUT_S = 2
ORDERED_VISIBILITY_TIMEOUT_S = 30
"""Where a worker is slow, the mock gives what is visible again from its end; nothing there waits for a redelivery."""
LOSSES = (BotoCoreError, ClientError, OSError)


class MotoBroker:
    """moto's server. The address is a port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = own_port()
        self.address = str(port)
        command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
        self._program = Program(command, {}, folder / "moto.log", [port])

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
        """It holds everything in memory."""
        return 0

    def installed_bytes(self) -> int:
        return files_bytes(Path(each.locate()) for each in distribution("moto").files or ())


class SnsPublisher:
    """A FIFO topic orders within a message group."""

    def __init__(self, sns: Any, topic_arn: str, order: Order) -> None:
        self._sns = sns
        self._topic_arn = topic_arn
        self._order = order
        self._count = 0

    async def publish(self, key: bytes, value: bytes) -> None:
        self._count += 1
        options = {}
        if self._order is not Order.NONE:
            group = key.decode() if self._order is Order.KEYED else "all"
            options = {"MessageGroupId": group, "MessageDeduplicationId": str(self._count)}
        try:
            await self._sns.publish(TopicArn=self._topic_arn, Message=value.decode(), **options)
        except LOSSES as error:
            raise BrokerLost(str(error)) from error


class SqsConsumer:
    """Acknowledging is deleting."""

    def __init__(self, sqs: Any, url: str, asking: AbstractAsyncContextManager[None]) -> None:
        self._sqs = sqs
        self._url = url
        self._asking = asking
        self._receipts: list[str] = []

    async def receive(self) -> Sequence[bytes]:
        while not (messages := await self._receive()):
            await asyncio.sleep(RECEIVE_INTERVAL_S)
        self._receipts += [message["ReceiptHandle"] for message in messages]
        return [message["Body"].encode() for message in messages]

    async def _receive(self) -> list[dict[str, str]]:
        try:
            async with self._asking:
                answer = await self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=RECEIVE_COUNT)
        except LOSSES as error:
            raise BrokerLost(str(error)) from error
        return list(answer.get("Messages", []))

    async def acknowledge(self) -> None:
        while self._receipts:
            now, self._receipts = self._receipts[:RECEIVE_COUNT], self._receipts[RECEIVE_COUNT:]
            entries = [{"Id": str(place), "ReceiptHandle": receipt} for place, receipt in enumerate(now)]
            try:
                await self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
            except LOSSES as error:
                raise BrokerLost(str(error)) from error


class SnsClient:
    """A topic, and a queue for each group that subscribes to it, raw: the body is the message."""

    def __init__(self, address: str) -> None:
        self._endpoint = f"http://{LOOPBACK}:{address}"
        self._asking_in_turn = asyncio.Lock()
        """The mock breaks the order of FIFO where two ask at the same time."""

    @asynccontextmanager
    async def _service(self, name: str) -> AsyncIterator[Any]:
        """With credentials that mean nothing."""
        session = get_session()
        async with session.create_client(
            name,
            region_name=REGION,
            endpoint_url=self._endpoint,
            aws_access_key_id="mock",
            aws_secret_access_key="mock",
        ) as client:
            yield client

    async def create(self, topology: Topology) -> None:
        async with self._service("sns") as sns:
            await self._topic_arn(sns, topology)

    async def _topic_arn(self, sns: Any, topology: Topology) -> str:
        """Making it twice makes it once."""
        attributes = {"FifoTopic": "true"} if topology.order is not Order.NONE else {}
        answer = await sns.create_topic(Name=_name(topology), Attributes=attributes)
        return str(answer["TopicArn"])

    async def create_group(self, topology: Topology, group: str) -> None:
        attributes = {"VisibilityTimeout": str(VISIBILITY_TIMEOUT_S)}
        if topology.order is not Order.NONE:
            attributes = {"VisibilityTimeout": str(ORDERED_VISIBILITY_TIMEOUT_S), "FifoQueue": "true"}
        async with self._service("sns") as sns, self._service("sqs") as sqs:
            queue = await sqs.create_queue(QueueName=_name(topology, group), Attributes=attributes)
            found = await sqs.get_queue_attributes(QueueUrl=queue["QueueUrl"], AttributeNames=["QueueArn"])
            await sns.subscribe(
                TopicArn=await self._topic_arn(sns, topology),
                Protocol="sqs",
                Endpoint=found["Attributes"]["QueueArn"],
                Attributes={"RawMessageDelivery": "true"},
            )

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        async with self.publisher(topology) as publisher:
            for key, value in messages:
                await publisher.publish(key, value)

    @asynccontextmanager
    async def publisher(self, topology: Topology) -> AsyncIterator[SnsPublisher]:
        async with self._service("sns") as sns:
            yield SnsPublisher(sns, await self._topic_arn(sns, topology), topology.order)

    @asynccontextmanager
    async def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AsyncIterator[SqsConsumer]:
        if replay:
            raise NotOffered("a deleted message is gone; only a FIFO topic with an archive policy can replay")
        async with self._service("sqs") as sqs:
            answer = await sqs.get_queue_url(QueueName=_name(topology, group))
            asking = nullcontext() if topology.order is Order.NONE else self._asking_in_turn
            yield SqsConsumer(sqs, answer["QueueUrl"], asking)


def _name(topology: Topology, group: str = "") -> str:
    suffix = FIFO if topology.order is not Order.NONE else ""
    return "-".join(filter(None, [topology.name, group])) + suffix


def _version() -> str | None:
    try:
        return version("moto")
    except PackageNotFoundError:
        return None


CANDIDATES = (
    Candidate(
        "SNS + SQS (moto)",
        "SNS + SQS (moto)",
        Durability.NONE,
        f"raw delivery, visibility timeout {VISIBILITY_TIMEOUT_S} s; where an order is asked for FIFO, "
        f"{ORDERED_VISIBILITY_TIMEOUT_S} s, and workers that ask one after the other",
        MotoBroker,
        SnsClient,
        _version,
        "pip install 'nginx-kafka-pipeline[compare]'; the service itself is AWS's",
        {
            "behaviour": "the mock can look more ordered than SQS is",
            "operating": "nothing runs here; to be watched are permissions, visibility timeouts, cost, and dead-letter "
            "queues",
        },
        is_mock=True,
    ),
)
