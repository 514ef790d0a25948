"""Records that are published all or not at all, by one process at a time.

What aiokafka 0.14 does and what is done about it here:

- `commit_transaction` succeeds although a record failed: every confirmation is looked at first.
- After a failure or a commit that timed out nothing is known of the outcome: the client is abandoned, and the owner
  reads what is there before it goes on with another one. The broker aborts what was left open.
- `start` waits without a limit when the broker goes away after the first answer: it has a limit here.
- Offsets of a group go into a transaction without the group's generation (TxnOffsetCommit v0): the group takes them
  from a member that it has dropped, too. Only the transactional id refuses them, once its next owner has started.
- A client that was found at fault between two steps fails an assertion of its own: that counts as a failure, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, TopicPartition

from shared.kafka.committed import committed_offsets
from shared.kafka.connection import (
    CLIENT_ERRORS,
    abandon_producer,
    client_options,
    ended,
    partition_count,
    start_client,
    translate,
)
from shared.kafka.producer import RECORD_OVERHEAD_BYTES, START_TIMEOUT_S
from shared.kafka.topics import max_message_bytes
from shared.runtime.settings import KafkaSettings

# After so long the broker aborts a transaction whose owner is gone, and readers of what is committed go on.
TRANSACTION_TIMEOUT_MS = 30_000
BATCH_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record and where it goes."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """The next offsets to read of a topic, by partition, that a group commits together with what is published."""

    group_id: str
    topic: str
    next_offsets: Mapping[int, int]


class TransactionalPublisher:
    """Make it with `start`, end it with `close`; after any error it is spent, and ended too.

    Its start fences every other one with the same id: what that has not committed is aborted, and it commits no more.
    """

    def __init__(self, client: AIOKafkaProducer, partition_counts: dict[str, int], max_record_bytes: int) -> None:
        self._client = client
        self._partition_counts = partition_counts
        self.max_record_bytes = max_record_bytes

    @classmethod
    async def start(
        cls, settings: KafkaSettings, transactional_id: str, topics: Sequence[str], limit_bytes: int | None = None
    ) -> TransactionalPublisher:
        """Connect and fence. Raises BrokerUnavailable or AccessDenied and leaves nothing behind when it does.

        `limit_bytes` is what `max_message_bytes` says of the topics, for those who have asked already.
        """
        limit_bytes = limit_bytes or await max_message_bytes(settings, topics)
        client = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            compression_type="zstd",
            max_batch_size=min(BATCH_BYTES, limit_bytes),
            max_request_size=limit_bytes,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await start_client(client, settings)
                counts = {topic: await partition_count(client, topic) for topic in topics}
        except BaseException as error:
            await abandon_producer(client)
            if isinstance(error, CLIENT_ERRORS):
                raise translate(error, "starting transactions") from error
            raise
        return cls(client, counts, limit_bytes - RECORD_OVERHEAD_BYTES)

    def partition_count(self, topic: str) -> int:
        return self._partition_counts[topic]

    async def publish(self, records: Sequence[Outgoing], offsets: GroupOffsets | None = None) -> None:
        """All of the records and the offsets in one transaction; on return they are committed.

        Raises Fenced when another process took over, or when the broker was away for too long; RetryableError else.
        Then they are there or not, all or none.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_MS / 1000):
                await self._publish(records, offsets)
        except BaseException as error:
            await abandon_producer(self._client)
            if isinstance(error, (*CLIENT_ERRORS, AssertionError)):
                raise translate(error, "publishing in a transaction") from error
            raise

    async def _publish(self, records: Sequence[Outgoing], offsets: GroupOffsets | None) -> None:
        await self._client.begin_transaction()
        confirmations = [
            await self._client.send(
                record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
            )
            for record in records
        ]
        for outcome in await asyncio.gather(*confirmations, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        if offsets is not None:
            places = {TopicPartition(offsets.topic, number): offset for number, offset in offsets.next_offsets.items()}
            await self._client.send_offsets_to_transaction(places, offsets.group_id)
        await self._client.commit_transaction()

    async def committed(self, group_id: str, topic: str, partition: int) -> int | None:
        """What the group has committed of a partition, None when nothing. What the predecessors of this publisher had
        under way is decided by now: a commit that had begun is there, all else is gone.

        Raises BrokerUnavailable and the like; the publisher is spent then, as after any error.
        """
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return (await committed_offsets(self._client.client, group_id, topic, [partition]))[partition]
        except BaseException as error:
            await abandon_producer(self._client)
            if isinstance(error, CLIENT_ERRORS):
                raise translate(error, "asking for committed offsets") from error
            raise

    async def close(self) -> None:
        """Disconnect. Nothing is pending: every `publish` has returned or raised."""
        if not await ended(self._client.stop()):
            await abandon_producer(self._client)
