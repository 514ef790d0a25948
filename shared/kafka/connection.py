"""How every client connects, and what its errors mean to us."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import errors as kafka_errors

from shared.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeliveryFailed,
    OwnershipLost,
    PipelineError,
)
from shared.runtime.settings import KafkaSettings

# Kafka's own back-off between two attempts of the client, in milliseconds.
RETRY_BACKOFF_MS = 100

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
    if isinstance(error, _NOT_OWNER):
        return OwnershipLost(f"the group moved on while {doing}: {reason}")
    if isinstance(error, kafka_errors.KafkaConnectionError | asyncio.TimeoutError | OSError):
        return BrokerUnavailable(f"no answer from the broker while {doing}: {reason}")
    return DeliveryFailed(f"{doing} failed: {type(error).__name__}: {reason}")
