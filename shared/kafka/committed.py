"""What a group has committed, asked so that "nothing", and what was true before, is only said when that is so.

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
from shared.kafka.offset_fetch import UNSTABLE_OFFSET_COMMIT, StableOffsetFetch

Answer = TypeVar("Answer")


class _Later(Exception):
    """The answer is not known yet."""


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
    commits = await _commits(client, StableOffsetFetch(group, topic, partitions), group, topic)
    return {**dict.fromkeys(partitions), **commits}


async def every_commit(client: AIOKafkaClient, group: str, topic: str) -> dict[int, int]:
    """Of all partitions of the topic in which the group has committed something. It waits for no transaction."""
    return await _commits(client, OffsetFetchRequest(group, None), group, topic)


async def once_loaded(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the coordinator has loaded what it knows of its groups. The caller limits the time."""
    while True:
        try:
            return await ask()
        except _ELSEWHERE_OR_LATER:
            await asyncio.sleep(RETRY_BACKOFF_MS / 1000)


async def _commits(client: AIOKafkaClient, request: Any, group: str, topic: str) -> dict[int, int]:
    async def ask() -> dict[int, int]:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        answer = await client.send(coordinator, request)
        # Versions of the answer before the second have no error of the whole.
        _raise_for(getattr(answer, "error_code", 0), f"group {group}")
        return dict(_commits_in(answer, group, topic))

    return await once_loaded(ask)


def _commits_in(answer: Any, group: str, wanted_topic: str) -> Iterator[tuple[int, int]]:
    """The commits of one topic in an answer to OffsetFetch. Raises errors of the client."""
    for topic, entries, *_tags in answer.topics:
        for entry in entries if topic == wanted_topic else ():
            partition, offset, *_others, code = _without_tags(entry)
            _raise_for(code, f"group {group}, {topic}/{partition}")
            if offset >= 0:
                yield partition, int(offset)


def _without_tags(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    return entry[:-1] if isinstance(entry[-1], dict) else entry


def _raise_for(code: int, where: str) -> None:
    if code == UNSTABLE_OFFSET_COMMIT:
        raise _Later(where)
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError:
        raise error(where)
