"""What a group has committed, asked so that "nothing", and what was true before, is only said when that is so.

aiokafka 0.14 looks at the errors of partitions alone. A coordinator that is still loading, or that is none any more,
answers with an error for the whole group and names no partition: aiokafka takes that for "never committed". And it does
not ask for stable offsets (`require_stable`): of a transaction that is being decided, it gets what was before.

Touches private names of aiokafka 0.14; tests/integration/test_kafka_sink.py notices when they change their meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from shared.kafka.connection import RETRY_BACKOFF_MS

# The broker's code for "a transaction over this offset is not decided", which aiokafka does not know.
UNSTABLE_OFFSET_COMMIT = 88


class StableOffsetFetchResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    """As Kafka's protocol has it."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class StableOffsetFetchRequest(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    """The first version with `require_stable`: Kafka 2.5."""

    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = StableOffsetFetchResponse
    SCHEMA = Schema(
        ("consumer_group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetch(Request[OffsetFetchRequest_v3 | StableOffsetFetchRequest]):  # type: ignore[misc]
    """Brokers before 2.5 are asked without."""

    API_KEY = 9

    def __init__(self, group: str, topic: str, partitions: Collection[int]) -> None:
        self._group = group
        self._topic = topic
        self._partitions = list(partitions)

    def build(self, kind: Any) -> Any:
        if kind is OffsetFetchRequest_v3:
            return kind(self._group, [(self._topic, self._partitions)])
        return kind(self._group, [(self._topic, self._partitions, {})], True, {})


class _Later(Exception):
    """The answer is not known yet, or another broker has it."""


_ELSEWHERE_OR_LATER = (
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorError,
    _Later,
)


async def committed_offsets(
    client: AIOKafkaClient, group: str, topic: str, partitions: Collection[int]
) -> dict[int, int | None]:
    """The next offset to read, by partition; None where the group has committed none. The caller limits the time.

    While a transaction may commit one of them it waits. Raises errors of the client.
    """
    while True:
        try:
            return await _ask(client, group, topic, partitions)
        except _ELSEWHERE_OR_LATER:
            await asyncio.sleep(RETRY_BACKOFF_MS / 1000)


async def _ask(client: AIOKafkaClient, group: str, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(coordinator, StableOffsetFetch(group, topic, partitions))
    _raise_for(answer.error_code, f"group {group}")
    found: dict[int, int | None] = dict.fromkeys(partitions)
    for _topic, entries, *_tags in answer.topics:
        for partition, offset, *_others, code in (_without_tags(entry) for entry in entries):
            _raise_for(code, f"group {group}, {topic}/{partition}")
            found[partition] = int(offset) if offset >= 0 else None
    return found


def _without_tags(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    return entry[:-1] if isinstance(entry[-1], dict) else entry


def _raise_for(code: int, where: str) -> None:
    if code == UNSTABLE_OFFSET_COMMIT:
        raise _Later(where)
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError:
        raise error(where)
