"""What `make groups` tells, from two looks at the groups. What is not known is None, never 0. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.kafka.groups import Group
from shared.kafka.lag import GroupsSeen

STABLE = "Stable"
# What a coordinator says of a group that it does not describe in this protocol, or does not have.
DEAD = "Dead"
_REBALANCES = re.compile(r"^nginx_pipeline_consumer_rebalances_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class PartitionView:
    """One partition as a group stands in it. `deleted` records were removed by age before the group read them."""

    partition: int
    member: str | None
    committed: int | None
    end: int
    lag: int | None
    lag_s: float | None
    rate_per_s: float | None
    deleted: int


@dataclass(frozen=True)
class MemberView:
    """One member; `idle_because` says why it has no partition."""

    member: str
    client_id: str
    host: str
    partitions: tuple[int, ...]
    idle_because: str | None


@dataclass(frozen=True)
class GroupView:
    """One group. `rebalances` is what its replicas counted since they started, where they run in this stack."""

    group: str
    state: str | None
    members: tuple[MemberView, ...]
    partitions: tuple[PartitionView, ...]
    lag: int | None
    rate_per_s: float | None
    rebalances: int | None
    read_by_nobody: tuple[int, ...]


def views(seen: GroupsSeen, rebalances: Mapping[str, int]) -> tuple[GroupView, ...]:
    """Of every group that was seen."""
    return tuple(_view(group, seen, rebalances.get(group.name)) for group in seen.groups)


def _view(group: Group, seen: GroupsSeen, rebalances: int | None) -> GroupView:
    owners = {partition: one.member_id for one in group.members for partition in one.partitions}
    partitions = tuple(_partition(group, number, owners.get(number), seen) for number in sorted(seen.held))
    settled = group.state == STABLE
    return GroupView(
        group.name,
        None if group.state == DEAD else group.state,
        tuple(
            MemberView(
                one.member_id,
                one.client_id,
                one.host,
                one.partitions,
                None if one.partitions else idle_because(group, len(seen.held)),
            )
            for one in group.members
        ),
        partitions,
        _sum([one.lag for one in partitions]),
        _sum([one.rate_per_s for one in partitions if one.committed is not None]),
        rebalances,
        tuple(number for number in sorted(seen.held) if settled and group.members and number not in owners),
    )


def _partition(group: Group, number: int, owner: str | None, seen: GroupsSeen) -> PartitionView:
    span = seen.held[number]
    committed = group.committed.get(number)
    before = seen.committed_before.get(group.name, {}).get(number)
    lag = lag_of(committed, span.end)
    return PartitionView(
        number,
        owner,
        committed,
        span.end,
        lag,
        0.0 if lag == 0 else seen.ages_s.get((group.name, number)),
        None if committed is None or before is None else (committed - before) / seen.passed_s,
        0 if committed is None else max(span.first - committed, 0),
    )


def lag_of(committed: int | None, end: int) -> int | None:
    """Offsets that the group has before it. Not known until it commits, unless there never was a record, and not for
    an offset behind the end: then the topic was made anew.
    """
    if committed is None:
        return 0 if end == 0 else None
    return end - committed if committed <= end else None


def idle_because(group: Group, partition_count: int) -> str:
    """Why a member has no partition."""
    if group.state != STABLE:
        return f"the group is not settled ({group.state})"
    if len(group.members) > partition_count:
        return f"more replicas ({len(group.members)}) than partitions ({partition_count})"
    return "the group gave it none of this topic"


def _sum(numbers: Sequence[int | None] | Sequence[float | None]) -> Any:
    """None where one of them is not known, or there are none."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def members_of(group: Group | GroupView) -> str:
    """How many, in words."""
    return f"{len(group.members)} member{'' if len(group.members) == 1 else 's'}"


def rebalances_in(metrics_text: str) -> int | None:
    """What one replica counted, from its /metrics; None where it does not say."""
    found = _REBALANCES.search(metrics_text)
    return int(float(found[1])) if found else None


def document(topic: str, seen: GroupsSeen, groups: Sequence[GroupView]) -> dict[str, Any]:
    """For programs: null is unknown."""
    return {
        "topic": topic,
        "interval_s": round(seen.passed_s, 3),
        "groups": [asdict(group) for group in groups],
        "groups_of_other_topics": seen.left_out,
    }


def remarks(group: GroupView) -> Iterator[str]:
    """What the table of a group does not say, in sentences."""
    if group.state is None:
        yield _stateless(group)
    if not group.members and group.state is not None:
        yield "Nobody reads: it has no members."
    if group.read_by_nobody:
        yield f"Partitions that nobody reads: {', '.join(map(str, group.read_by_nobody))}."
    idle = [one for one in group.members if one.idle_because]
    if idle:
        yield f"Idle: {len(idle)} of {len(group.members)} members, because: {idle[0].idle_because}."
    deleted = sum(one.deleted for one in group.partitions)
    if deleted:
        yield f"{deleted:,} offsets were deleted by age before it read them. It goes on at the oldest that is kept."
    ahead = [one.partition for one in group.partitions if one.committed is not None and one.committed > one.end]
    if ahead:
        yield f"It committed more than partitions {', '.join(map(str, ahead))} hold: the topic was made anew since."
    if group.rebalances is not None:
        yield f"Assignments since its replicas started: {group.rebalances}."


def _stateless(group: GroupView) -> str:
    if any(one.committed is not None for one in group.partitions):
        return "Its state is not known: the broker describes no such group, or it speaks a newer protocol."
    return "The broker knows of no such group. Is that its name? make groups lists those that read this topic."
