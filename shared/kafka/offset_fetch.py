"""OffsetFetch with `require_stable`, which aiokafka 0.14 does not know: of a transaction that is being decided, its own
request gets what was before.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

# The broker's code for "a transaction over this offset is not decided", which aiokafka does not know either.
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
