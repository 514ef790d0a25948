"""What a group has committed, asked so that "nothing" is only said when that is so.

aiokafka 0.14 looks at the errors of partitions alone. A coordinator that is still loading, or that is none any more,
answers with an error for the whole group and names no partition: aiokafka takes that for "never committed".

Touches private names of aiokafka 0.14; tests/integration/test_kafka_sink.py notices when they change their meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.commit import OffsetFetchRequest

from shared.kafka.connection import RETRY_BACKOFF_MS

Answer = TypeVar("Answer")
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
    answer = await once_loaded(lambda: _ask(client, group, [(topic, list(partitions))]))
    return {**dict.fromkeys(partitions), **dict(_commits_in(answer, group, topic))}


async def every_commit(client: AIOKafkaClient, group: str, topic: str) -> dict[int, int]:
    """The same of all partitions of the topic in which the group has committed something."""
    return dict(_commits_in(await once_loaded(lambda: _ask(client, group, None)), group, topic))


async def once_loaded(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the coordinator has loaded what it knows of its groups. The caller limits the time."""
    while True:
        try:
            return await ask()
        except _ELSEWHERE_OR_LATER:
            await asyncio.sleep(RETRY_BACKOFF_MS / 1000)


async def _ask(client: AIOKafkaClient, group: str, wanted: list[tuple[str, list[int]]] | None) -> Any:
    """The answer to OffsetFetch, of all topics without `wanted`."""
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(coordinator, OffsetFetchRequest(group, wanted))
    _raise_for(getattr(answer, "error_code", 0), f"group {group}")
    return answer


def _commits_in(answer: Any, group: str, wanted_topic: str) -> Iterator[tuple[int, int]]:
    """The commits of one topic in an answer to OffsetFetch. Raises errors of the client."""
    for topic, entries in answer.topics:
        for partition, offset, _metadata, code in entries if topic == wanted_topic else ():
            _raise_for(code, f"group {group}, {topic}/{partition}")
            if offset >= 0:
                yield partition, int(offset)


def _raise_for(code: int, where: str) -> None:
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError:
        raise error(where)
