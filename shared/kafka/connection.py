"""How every client connects, and what its errors mean to us."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from shared.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeliveryFailed,
    Fenced,
    OwnershipLost,
    PipelineError,
)
from shared.kafka.lost_connection import understand_lost_connections
from shared.kafka.security import security_options
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
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
)
# What is said of a topic that is there, of one that is not, and of one that was made a moment ago.
_KNOWN_OR_ABSENT = (
    kafka_errors.NoError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.LeaderNotAvailableError,
)
_NOT_OWNER = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.IllegalStateError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.UnknownMemberIdError,
)


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments that producer, consumer and admin client have in common.

    Raises InvalidSettings when a file with a secret or a certificate cannot be used.
    """
    return {
        **security_options(settings),
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
    if _is_distrust(error):
        return AccessDenied(
            f"{doing} failed because the broker and this client do not trust each other: {reason}. Check "
            "KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CA_FILE, the client's certificate, and whether the broker's names the "
            "host that it is reached by."
        )
    if isinstance(error, kafka_errors.ProducerFenced | kafka_errors.InvalidProducerEpoch):
        return Fenced("another producer of this name took over")
    if isinstance(error, _NOT_OWNER):
        return OwnershipLost(f"the group moved on while {doing}: {reason}")
    if isinstance(error, kafka_errors.KafkaTimeoutError | asyncio.TimeoutError):
        return BrokerUnavailable(f"no answer from the broker in time while {doing}")
    if isinstance(error, kafka_errors.KafkaConnectionError | OSError | RuntimeError):
        return BrokerUnavailable(f"no answer from the broker while {doing}: {reason}")
    return DeliveryFailed(f"{doing} failed: {type(error).__name__}: {reason}")


class _Startable(Protocol):
    async def start(self) -> None: ...


async def start_client(client: _Startable, settings: KafkaSettings) -> None:
    """`client.start()`. Where no broker lets the client in it raises the reason: aiokafka 0.14 only logs that."""
    try:
        await client.start()
    except kafka_errors.KafkaConnectionError as error:
        raise (await _why_not_let_in(settings) or error) from error


async def _why_not_let_in(settings: KafkaSettings) -> Exception | None:
    """What one more connection comes to; None when nothing listens, or when the broker is there by now."""
    options = client_options(settings)
    del options["retry_backoff_ms"]
    for host, port, _family in collect_hosts(options.pop("bootstrap_servers")):
        try:
            connection = await create_conn(host, port, **options)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
        except CLIENT_ERRORS as error:
            for cause in (error, error.__cause__):
                if isinstance(cause, _DENIED) or _is_distrust(cause):
                    assert isinstance(cause, Exception)
                    return cause
            if isinstance(error, kafka_errors.KafkaConnectionError):  # all others mean that nothing listens
                closed: Exception = kafka_errors.KafkaConnectionError(
                    f"{host}:{port} closes the connection at the first request. If it wants encryption or a password, "
                    f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol} is wrong"
                )
                return closed
    return None


def _is_distrust(error: BaseException | None) -> bool:
    """Whether TLS was refused by either side, and not just cut off."""
    if not isinstance(error, ssl.SSLError):
        return False
    reason = error.reason or ""
    return isinstance(error, ssl.SSLCertVerificationError) or "_ALERT_" in reason or reason == "WRONG_VERSION_NUMBER"


async def partitions_by_name(client: AIOKafkaClient, topic: str) -> list[int]:
    """The partitions of a topic, asked for by name; none when there is no such topic, and asking does not make it.

    A list of all topics leaves out those that this client has no right to, as if they were not there. Raises
    TopicAuthorizationFailedError and other errors of the client.
    """
    answer = await client.send(client.get_random_node(), MetadataRequest([topic], allow_auto_topic_creation=False))
    [found] = answer.to_object()["topics"]
    error = kafka_errors.for_code(found["error_code"])
    if error not in _KNOWN_OR_ABSENT:
        raise error(topic)
    return [partition["partition"] for partition in found["partitions"]]


async def partition_count(client: AIOKafkaProducer, topic: str) -> int:
    """The partitions of a topic, as the started client knows them. Raises BrokerUnavailable for a missing topic."""
    try:
        return len(await client.partitions_for(topic))
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise BrokerUnavailable(f"topic {topic} does not exist yet; the `topics` service makes it") from error


async def ended(ending: Coroutine[Any, Any, object], timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Let a client's `stop` or `close` end, for at most so long. Returns whether it did, without an error.

    In a task of its own. aiokafka 0.14 cancels tasks and awaits them, and after a `close` that was cut short the next
    one finds cancelled futures: CancelledError comes out of it, which a caller would take for his own.
    """
    task = asyncio.create_task(ending)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        task.cancel()
    if not task.done():
        await asyncio.wait({task}, timeout=timeout_s)
    if not task.done() or task.cancelled():
        return False
    error = task.exception()
    if error is not None and not isinstance(error, CLIENT_ERRORS):
        raise error
    return error is None


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
    await ended(client.client.close())  # a connection that does not close in time is the operating system's to clean up
