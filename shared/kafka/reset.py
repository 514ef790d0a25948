"""Setting what a group has committed, from outside.

aiokafka's admin client cannot. A client of the group that was given its partitions by hand commits as a group without
members does; the broker refuses that while the group has a member, so nothing is changed behind anybody's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.kafka.connection import CLIENT_ERRORS, client_options, ended, start_client, translate
from shared.runtime.settings import KafkaSettings

COMMIT_TIMEOUT_S = 15.0


async def commit_for_group(settings: KafkaSettings, group: str, topic: str, next_offsets: Mapping[int, int]) -> None:
    """Commit the next offset to read, by partition, for a group without members.

    Raises OwnershipLost when the group has a member: nothing is committed then. BrokerUnavailable and the like: then it
    is committed or not.
    """
    client = AIOKafkaConsumer(**client_options(settings), group_id=group, enable_auto_commit=False)
    try:
        async with asyncio.timeout(COMMIT_TIMEOUT_S):
            await start_client(client, settings)
            places = {TopicPartition(topic, partition): offset for partition, offset in next_offsets.items()}
            client.assign(list(places))
            client.pause(*places)  # it is not here to read
            await client.commit(places)
    except CLIENT_ERRORS as error:
        raise translate(error, f"committing offsets for {group}") from error
    finally:
        await ended(client.stop())
