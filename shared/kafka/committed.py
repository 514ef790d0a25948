"""What a group has committed, asked so that "nothing" is only said when that is so.

aiokafka 0.14 looks at the errors of partitions alone. A coordinator that is still loading, or that is none any more,
answers with an error for the whole group and names no partition: aiokafka takes that for "never committed".

Touches private names of aiokafka 0.14; tests/integration/test_kafka_sink.py notices when they change their meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.commit import OffsetFetchRequest

from shared.kafka.connection import RETRY_BACKOFF_MS

_ELSEWHERE_OR_LATER = (
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorError,
)


async def committed_offsets(
    client: AIOKafkaClient, group: str, topic: str, partitions: Collection[int]
) -> dict[int, int | None]:
    """The next offset to read, by partition; None where the group has committed none. The caller limits the time.

    What an open transaction would commit does not count. Raises errors of the client.
    """
    while True:
        try:
            return await _ask(client, group, topic, partitions)
        except _ELSEWHERE_OR_LATER:
            await asyncio.sleep(RETRY_BACKOFF_MS / 1000)


async def _ask(client: AIOKafkaClient, group: str, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(coordinator, OffsetFetchRequest(group, [(topic, list(partitions))]))
    _raise_for(getattr(answer, "error_code", 0), f"group {group}")
    found: dict[int, int | None] = dict.fromkeys(partitions)
    for _topic, entries in answer.topics:
        for partition, offset, _metadata, code in entries:
            _raise_for(code, f"group {group}, {topic}/{partition}")
            found[partition] = int(offset) if offset >= 0 else None
    return found


def _raise_for(code: int, where: str) -> None:
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError:
        raise error(where)
