"""A fence between a producer and everything that an earlier one of the same name may still have under way.

An idempotent producer alone cannot tell what a killed or paused predecessor left in a socket: the broker may append it
later. With a transactional id the broker keeps an epoch for the name. A transaction that registers every partition and
is aborted writes a marker with the new epoch into each of them; from then on the broker refuses every batch of an
older epoch there, for good. Nothing is ever published in a transaction, so readers need not be read_committed.

The coordinator forgets a name after `transactional.id.expiration.ms` (seven days) and a partition an epoch after
`producer.id.expiration.ms` (one day) without use: a producer that lives on raises its fence anew well before.

Touches private names of aiokafka 0.14; tests/integration/test_fence.py notices when they change their meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors

from shared.errors import BrokerUnavailable
from shared.kafka.connection import (
    CLIENT_ERRORS,
    abandon_producer,
    client_options,
    ended,
    partition_count,
    start_client,
    translate,
)
from shared.runtime.settings import KafkaSettings

FENCE_TIMEOUT_S = 20.0
# A fence that is cut off half way leaves a transaction open for at most this long. The next fence ends it at once.
TRANSACTION_TIMEOUT_MS = 10_000
# The coordinator needs some milliseconds between two steps; the client's usual pause would be most of the fence.
RETRY_BACKOFF_MS = 10


async def raise_fence(settings: KafkaSettings, transactional_id: str, topics: Sequence[str]) -> tuple[int, int]:
    """Shut out every earlier producer of this name from every partition of the topics.

    Raises BrokerUnavailable or AccessDenied; then the fence may stand or not, and must be raised again.
    """
    options = {**client_options(settings), **fenced_options(transactional_id), "retry_backoff_ms": RETRY_BACKOFF_MS}
    client = AIOKafkaProducer(**options)
    try:
        async with asyncio.timeout(FENCE_TIMEOUT_S):
            await start_client(client, settings)
            await client.begin_transaction()
            for topic in topics:
                for partition in range(await partition_count(client, topic)):
                    client._txn_manager.maybe_add_partition_to_txn(TopicPartition(topic, partition))
            await client.abort_transaction()
            raised = (client._txn_manager.producer_id, client._txn_manager.producer_epoch)
    except (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerIdMapping, AssertionError) as error:
        # Another start of this name came between, or the transaction took too long: either way, from the beginning.
        await abandon_producer(client)
        raise BrokerUnavailable(f"the fence of {transactional_id} was overtaken while it was raised") from error
    except CLIENT_ERRORS as error:
        await abandon_producer(client)
        raise translate(error, "raising the fence") from error
    except BaseException:
        await abandon_producer(client)
        raise
    if not await ended(client.stop()):
        await abandon_producer(client)
    return raised


def fenced_options(transactional_id: str) -> dict[str, Any]:
    """The arguments of a client that starts behind the fence of this name: its start waits until the fence stands."""
    return {"transactional_id": transactional_id, "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS}


def leave_transactions(client: AIOKafkaProducer) -> None:
    """From now on the started client publishes plain idempotent batches, under the epoch that its start was given."""
    client._txn_manager.transactional_id = None


def require_next_epoch(client: AIOKafkaProducer, fence_id: int, fence_epoch: int) -> None:
    """Raises BrokerUnavailable when another start of the name came between the fence and the start of this client.

    Then the tails are not final: that other one has an epoch that this fence has not shut out.
    """
    if (client._txn_manager.producer_id, client._txn_manager.producer_epoch) != (fence_id, fence_epoch + 1):
        raise BrokerUnavailable("another producer of this name started at the same time")
