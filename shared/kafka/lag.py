"""How far behind the groups of a topic are: in records, in seconds, and how fast they go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.kafka.groups import Group, describe_groups, list_groups
from shared.kafka.log_reader import Place, open_log_reader
from shared.kafka.scan import Span, spans
from shared.runtime.settings import KafkaSettings

# All groups together; what is not answered by then stays unknown.
AGES_TIMEOUT_S = 10.0
GROUP_AGES_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class GroupsSeen:
    """Two looks at the groups of a topic, `passed_s` apart. What is absent from a mapping is not known.

    `ages_s` holds, by group and partition, how old the first record is that the group has not processed.
    `left_out` counts groups that have to do with other topics only.
    """

    groups: tuple[Group, ...]
    committed_before: Mapping[str, Mapping[int, int]]
    passed_s: float
    held: Mapping[int, Span]
    ages_s: Mapping[tuple[str, int], float]
    left_out: int


async def look_at_groups(settings: KafkaSettings, topic: str, only: str | None, interval_s: float) -> GroupsSeen:
    """All groups that read the topic, or `only` one. Raises BrokerUnavailable, AccessDenied and the like."""
    names = [only] if only else await list_groups(settings)
    first = await describe_groups(settings, names, topic)
    looked_at = time.monotonic()
    concerned = [group.name for group in first if group.reads_topic or only]
    await asyncio.sleep(interval_s)
    groups = await describe_groups(settings, concerned, topic)
    passed_s = time.monotonic() - looked_at
    held = await spans(settings, topic)
    return GroupsSeen(
        groups,
        {group.name: group.committed for group in first},
        passed_s,
        held,
        await _ages_s(settings, topic, groups, held),
        len(names) - len(concerned),
    )


async def _ages_s(
    settings: KafkaSettings, topic: str, groups: Sequence[Group], held: Mapping[int, Span]
) -> dict[tuple[str, int], float]:
    """One record of each partition that a group is behind in."""
    starts = {group.name: _behind(topic, group, held) for group in groups}
    if not any(starts.values()):
        return {}  # a client of aiokafka 0.14 that is stopped right after its start raises CancelledError
    ages_s: dict[tuple[str, int], float] = {}
    give_up_at = time.monotonic() + AGES_TIMEOUT_S
    async with open_log_reader(settings) as reader:
        for name, behind in starts.items():
            left_s = min(give_up_at - time.monotonic(), GROUP_AGES_TIMEOUT_S)
            records = await reader.first_records(behind, max(left_s, 0.0))
            now_ms = time.time() * 1000
            ages_s |= {
                (name, place.partition): max(now_ms - one.timestamp, 0.0) / 1000 for place, one in records.items()
            }
    return ages_s


def _behind(topic: str, group: Group, held: Mapping[int, Span]) -> dict[Place, int]:
    """Where the group goes on, of the partitions that hold more; what was deleted by age it will not see."""
    return {
        Place(topic, partition): max(offset, held[partition].first)
        for partition, offset in group.committed.items()
        if partition in held and offset < held[partition].end and held[partition].size
    }
