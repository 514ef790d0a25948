"""How every client connects, and what its errors mean to us."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from shared.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeliveryFailed,
    Fenced,
    OwnershipLost,
    PipelineError,
)
from shared.kafka.lost_connection import understand_lost_connections
from shared.runtime.settings import KafkaSettings

understand_lost_connections()

# Kafka's own back-off between two attempts of the client, in milliseconds.
RETRY_BACKOFF_MS = 100
STOP_TIMEOUT_S = 2.0

# What a call of the client may raise while a broker dies: its own errors, and those of the transport. uvloop raises
# RuntimeError when a connection was closed under a request.
CLIENT_ERRORS = (kafka_errors.KafkaError, TimeoutError, OSError, RuntimeError)

_DENIED = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.AuthenticationMethodNotSupported,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)
_NOT_OWNER = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.IllegalStateError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.UnknownMemberIdError,
)


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments that producer, consumer and admin client have in common."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": settings.client_id,
        "request_timeout_ms": settings.kafka_request_timeout_ms,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }


def translate(error: BaseException, doing: str) -> PipelineError:
    """The error of our tree for one that the client raised while `doing` something (a phrase such as `publishing`)."""
    reason = str(error) or type(error).__name__
    if isinstance(error, _DENIED):
        return AccessDenied(f"the broker refused {doing}: {reason}. Check the credentials and the ACLs of this client.")
    if isinstance(error, kafka_errors.ProducerFenced | kafka_errors.InvalidProducerEpoch):
        return Fenced("another producer of this name took over")
    if isinstance(error, _NOT_OWNER):
        return OwnershipLost(f"the group moved on while {doing}: {reason}")
    if isinstance(error, kafka_errors.KafkaTimeoutError | asyncio.TimeoutError):
        return BrokerUnavailable(f"no answer from the broker in time while {doing}")
    if isinstance(error, kafka_errors.KafkaConnectionError | OSError | RuntimeError):
        return BrokerUnavailable(f"no answer from the broker while {doing}: {reason}")
    return DeliveryFailed(f"{doing} failed: {type(error).__name__}: {reason}")


async def partition_count(client: AIOKafkaProducer, topic: str) -> int:
    """The partitions of a topic, as the started client knows them. Raises BrokerUnavailable for a missing topic."""
    try:
        return len(await client.partitions_for(topic))
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise BrokerUnavailable(f"topic {topic} does not exist yet; the `topics` service makes it") from error


async def abandon_producer(client: AIOKafkaProducer) -> None:
    """Stop without the flush that `stop()` insists on: with the broker away it would wait for ever.

    Touches private names of aiokafka 0.14; a test notices when they change.
    """
    client._closed = True
    sender_task = client._sender.sender_task
    for _attempt in range(10):
        # The sender answers the first cancellation by waiting for its requests; the next one ends that wait.
        if sender_task is None or sender_task.done():
            break
        sender_task.cancel()
        await asyncio.wait([sender_task], timeout=0.05)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await client.client.close()
    except CLIENT_ERRORS:
        pass  # a connection that does not close in time is the operating system's to clean up
