"""The topics: made on purpose, with settings on purpose; drift is reported, never mended behind the operator's back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.errors import AccessDenied, BrokerUnavailable, FatalError
from shared.kafka.connection import CLIENT_ERRORS, client_options, ended, partitions_by_name, start_client, translate
from shared.runtime.settings import KafkaSettings

ADMIN_TIMEOUT_S = 30.0
# Kafka's default of message.max.bytes, for brokers that do not let this client read a topic's settings.
DEFAULT_MAX_MESSAGE_BYTES = 1_048_588


@dataclass(frozen=True)
class TopicSpec:
    """What a topic should be. `settings` are Kafka's names and values, such as `retention.ms`."""

    name: str
    partition_count: int
    replication_factor: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicOutcome:
    """What `ensure_topic` did and what it found different. Each drift is `(setting, wanted, found)`."""

    name: str
    created: bool
    partitions_added: int
    drift: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Layout:
    """What was found and done of a topic's partitions and their copies; nothing where the topic is new."""

    partitions_added: int = 0
    drift: tuple[tuple[str, str, str], ...] = ()


@asynccontextmanager
async def open_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for administration while the context is open, its errors in our words."""
    client = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with asyncio.timeout(ADMIN_TIMEOUT_S):
            await start_client(client, settings)
            yield client
    except CLIENT_ERRORS as error:
        raise translate(error, "administering the cluster") from error
    finally:
        await ended(client.close())


async def ensure_topic(settings: KafkaSettings, spec: TopicSpec) -> TopicOutcome:
    """Make the topic, or add partitions to it; report settings that differ. Idempotent.

    Raises BrokerUnavailable while the broker is away, FatalError when the broker refuses the definition.
    """
    async with open_admin(settings) as admin:
        created = await _create(admin, spec)
        layout = _Layout() if created else await _fit_partitions(admin, spec)
        found = await _topic_settings(admin, [spec.name])
    drift = tuple(
        (name, wanted, found[spec.name].get(name, "(unknown)"))
        for name, wanted in spec.settings.items()
        if spec.name in found and found[spec.name].get(name) != wanted
    )
    return TopicOutcome(spec.name, created, layout.partitions_added, (*layout.drift, *drift))


async def _create(admin: AIOKafkaAdminClient, spec: TopicSpec) -> bool:
    topic = NewTopic(spec.name, spec.partition_count, spec.replication_factor, topic_configs=dict(spec.settings))
    response = await admin.create_topics([topic])
    for _name, code, message, *_rest in response.topic_errors:
        error = kafka_errors.for_code(code)
        if error is kafka_errors.TopicAlreadyExistsError:
            return False
        if error is kafka_errors.TopicAuthorizationFailedError:  # asked before whether it exists
            return await _must_exist(admin, spec.name)
        if error.retriable or error is kafka_errors.InvalidReplicationFactorError:  # brokers may still be coming
            raise BrokerUnavailable(f"topic {spec.name} cannot be made yet: {message or error.__name__}")
        if error is not kafka_errors.NoError:
            raise FatalError(f"the broker refused to make topic {spec.name}: {message or error.__name__}")
    return True


async def _must_exist(admin: AIOKafkaAdminClient, topic: str) -> Literal[False]:
    """For a client that may not make topics: somebody else may have made it."""
    try:
        found = await partitions_by_name(admin._client, topic)
    except kafka_errors.TopicAuthorizationFailedError:
        found = []
    if not found:
        raise AccessDenied(
            f"this client may not make topic {topic}, and sees none of that name. Give it the right CREATE on the "
            "topic or the cluster; or make the topic by other means, and give it DESCRIBE."
        )
    return False


async def _fit_partitions(admin: AIOKafkaAdminClient, spec: TopicSpec) -> _Layout:
    """Add the partitions that are missing; tell what only an administrator can change."""
    described = await admin.describe_topics([spec.name])
    partitions = described[0]["partitions"]
    if not partitions:
        raise BrokerUnavailable(f"the broker does not tell the partitions of topic {spec.name} yet")
    drift = []
    if len(partitions) > spec.partition_count:
        drift.append(("partitions", str(spec.partition_count), str(len(partitions))))
    copies = min(len(partition["replicas"]) for partition in partitions)
    if copies != spec.replication_factor:
        drift.append(("replication.factor", str(spec.replication_factor), str(copies)))
    added = max(0, spec.partition_count - len(partitions))
    if added:
        await admin.create_partitions({spec.name: NewPartitions(total_count=spec.partition_count)})
    return _Layout(added, tuple(drift))


async def _topic_settings(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """Effective settings by topic; topics that are unknown or hidden from this client are left out."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, _message, _kind, name, entries in response.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def lagging_copies(settings: KafkaSettings) -> int:
    """How many copies of partitions, of all topics, are not in sync. Raises BrokerUnavailable and the like."""
    async with open_admin(settings) as admin:
        described = await admin.describe_topics()
    return sum(
        len(partition["replicas"]) - len(partition["isr"]) for topic in described for partition in topic["partitions"]
    )


async def max_message_bytes(settings: KafkaSettings, topics: Sequence[str]) -> int:
    """The smallest `max.message.bytes` of the topics; Kafka's default where the broker does not tell."""
    async with open_admin(settings) as admin:
        found = await _topic_settings(admin, topics)
    limits = [int(found.get(topic, {}).get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for topic in topics]
    return min(limits)
