"""What is asserted of the four, aspect by aspect, and what the samples say to it. Pure.

A verdict is derived from figures, never written down: `agrees`, `disagrees`, `depends on …`, or `not measured here`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.brokers.facts import (
    A_COPY_MORE,
    A_GAIN,
    ACTIVE,
    ACTIVE_SYNCED,
    CLASSIC,
    DISK_LEVEL,
    KAFKA,
    KAFKA_SYNCED,
    MOCK,
    PAGE_CACHE_LEVEL,
    QUORUM,
    RABBIT_KINDS,
    SYNCED_BY_ITSELF,
    Facts,
    Unmeasured,
    is_first,
    is_last,
    reaches,
)
from bench.brokers.samples import NOT_HERE, Comparison
from bench.summary import Spread

NEEDS_AWS = ("not measured: needs AWS", "A mock has no throughput and does not grow.")
OVERLAP = "depends on the run: ranges overlap"
ONE_NODE = "workers of one node; several nodes were not measured"
PYTHON = "200 in flight, Python clients"
BY_WORKERS = f"depends on what is scaled: {ONE_NODE}"

Judge = Callable[[Facts], tuple[str, str]]
"""Verdict, and the figures that it rests on. Raises Unmeasured."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One cell of the asserted table."""

    aspect: str
    system: str
    assertion: str
    judge: Judge


@dataclass(frozen=True, slots=True)
class Judged:
    """The same with its verdict."""

    claim: Claim
    verdict: str
    figures: str


def judge_all(comparison: Comparison) -> list[Judged]:
    """Every cell, row by row."""
    facts = Facts(comparison)
    judged = []
    for claim in CLAIMS:
        try:
            verdict, figures = claim.judge(facts)
        except Unmeasured as missing:
            verdict, figures = NOT_HERE, f"missing: {missing}"
        judged.append(Judged(claim, verdict, figures))
    return judged


def _agrees(held: bool | None) -> str:
    if held is None:
        return OVERLAP
    return "agrees" if held else "disagrees"


def _by(what: str, held: Iterable[bool | None]) -> str:
    """Of cases that may differ: all, none, or it depends on what tells them apart."""
    cases = list(held)
    if None in cases:
        return OVERLAP
    if len(set(cases)) > 1:
        return f"depends on {what}"
    return _agrees(cases[0])


def _kind(candidate: str) -> str:
    return candidate.split()[-1]


def _one_copy(facts: Facts) -> tuple[str, str]:
    copies = facts.copies(KAFKA)
    more = reaches(copies, A_COPY_MORE)
    return _agrees(None if more is None else not more), f"all groups take {copies.text(1)} times the disk of one"


def _copies_by_kind(facts: Facts) -> tuple[str, str]:
    copies = {kind: facts.copies(kind) for kind in RABBIT_KINDS}
    told = ", ".join(f"{_kind(kind)} {ratio.text(1)}" for kind, ratio in copies.items())
    verdict = _by("the kind of queue", [reaches(ratio, A_COPY_MORE) for ratio in copies.values()])
    return verdict, f"disk of all groups by that of one: {told}"


def _copy_per_group(facts: Facts) -> tuple[str, str]:
    copies = facts.copies(ACTIVE)
    return _agrees(reaches(copies, A_COPY_MORE)), f"all groups take {copies.text(1)} times the disk of one"


def _mock_fans_out(facts: Facts) -> tuple[str, str]:
    share = facts.share_seen(MOCK, "each_of_two_groups")
    return f"{_agrees(share == 1)} (of the mock)", f"each of two queues behind a topic of the mock got {share:.0%}"


def _kafka_is_fastest(facts: Facts) -> tuple[str, str]:
    page, disk = facts.rate(KAFKA), facts.rate(KAFKA_SYNCED)
    others = facts.other_rates(PAGE_CACHE_LEVEL, KAFKA), facts.other_rates(DISK_LEVEL, KAFKA_SYNCED)
    first = [is_first(page, others[0].values()), is_first(disk, others[1].values())]
    told = f"page cache: {_against(facts, KAFKA, others[0])}; fsync: {_against(facts, KAFKA_SYNCED, others[1])}"
    return _of_python(_by("durability", first)), told


def _of_python(verdict: str) -> str:
    """A rate is that of its client, too."""
    return f"{verdict} ({PYTHON})" if verdict in ("agrees", "disagrees") else verdict


def _against(facts: Facts, own: str, others: Mapping[str, Spread]) -> str:
    best = max(others, key=lambda other: others[other].median)
    return f"{facts.rate_told(own)}, the best other ({best}) {facts.rate_told(best)}"


def _rabbit_is_between(facts: Facts) -> tuple[str, str]:
    """Each kind among the other systems of its level."""
    found = {}
    for level in (PAGE_CACHE_LEVEL, DISK_LEVEL):
        others = facts.other_rates(level, *RABBIT_KINDS)
        for kind in (one for one in level if one in RABBIT_KINDS):
            found[kind] = _place(facts.rate(kind), others.values())
    told = ", ".join(f"{_kind(kind)} {facts.rate_told(kind)} ({place})" for kind, place in found.items())
    between = [None if place == UNCLEAR else place == BETWEEN for place in found.values()]
    return _of_python(_by("the kind of queue", between)), f"{told}; each among the other systems of its level"


BETWEEN, UNCLEAR = "between", "ranges overlap"


def _place(own: Spread, others: Iterable[Spread]) -> str:
    others = list(others)
    first, last = is_first(own, others), is_last(own, others)
    if first is None or last is None:
        return UNCLEAR
    if first or last:
        return "highest" if first else "lowest"
    return BETWEEN


def _active_is_lower(facts: Facts) -> tuple[str, str]:
    page, disk = facts.rate(ACTIVE), facts.rate(ACTIVE_SYNCED)
    others = facts.other_rates(PAGE_CACHE_LEVEL, ACTIVE), facts.other_rates(DISK_LEVEL, ACTIVE_SYNCED)
    places = [_place(page, others[0].values()), _place(disk, others[1].values())]
    last = [is_last(page, others[0].values()), is_last(disk, others[1].values())]
    told = f"page cache: {facts.rate_told(ACTIVE)} ({places[0]}), fsync: {facts.rate_told(ACTIVE_SYNCED)} ({places[1]})"
    return _of_python(_by("durability", last)), told


def _needs_aws(facts: Facts) -> tuple[str, str]:
    return NEEDS_AWS


def _kafka_keeps(facts: Facts) -> tuple[str, str]:
    late, replayed = facts.share_seen(KAFKA, "late_group"), facts.share_seen(KAFKA, "replayed")
    lost = max(facts.lost(KAFKA), facts.lost(KAFKA_SYNCED))
    told = f"a late group saw {late:.0%}, replayed {replayed:.0%}; lost by SIGKILL of the broker: {lost:.0f}"
    if late < 1 or replayed < 1 or lost:
        return "disagrees", told
    syncs, synced = facts.syncs(KAFKA), facts.syncs(KAFKA_SYNCED)
    told = f"{told}; {syncs:.1f} syncs per 1,000 confirmations, with flush.messages=1 {synced:.1f}"
    if syncs * SYNCED_BY_ITSELF >= synced:
        return "agrees", told
    return "depends on what is to be survived", f"{told}: by default not a power cut"


def _rabbit_keeps_by_kind(facts: Facts) -> tuple[str, str]:
    lost = {kind: facts.lost(kind) for kind in RABBIT_KINDS}
    late = {kind: facts.share_seen(kind, "late_group") for kind in lost}
    told = ", ".join(f"{_kind(kind)}: late group {late[kind]:.0%}, lost {lost[kind]:.0f}" for kind in lost)
    return _by("the kind of queue", [late[kind] == 0 and lost[kind] == 0 for kind in lost]), told


def _active_keeps(facts: Facts) -> tuple[str, str]:
    late = facts.share_seen(ACTIVE, "late_group")
    lost = {name: facts.lost(name) for name in (ACTIVE_SYNCED, ACTIVE)}
    told = ", ".join(f"{name}: {count:.0f}" for name, count in lost.items())
    verdict = _by("journalDiskSyncStrategy", [late == 0 and count == 0 for count in lost.values()])
    return verdict, f"a late group saw {late:.0%}; lost by SIGKILL of the broker: {told}"


def _mock_forgets(facts: Facts) -> tuple[str, str]:
    late, redelivered = facts.share_seen(MOCK, "late_group"), facts.count(MOCK, "redelivered")
    told = f"in the mock a late group saw {late:.0%}, and {redelivered:.0f} unacknowledged messages came again from SQS"
    return _agrees(late == 0) + (" (of SNS; SQS keeps)" if redelivered else ""), told


def _scales(*kinds: str, limited: bool) -> Judge:
    def judge(facts: Facts) -> tuple[str, str]:
        gains = {kind: facts.gain(kind) for kind in kinds}
        told = ", ".join(
            f"{kind}: {workers} workers {gain.text(1)} times one" for kind, (workers, gain) in gains.items()
        )
        gained = [reaches(gain, A_GAIN) for _workers, gain in gains.values()]
        if all(gained):
            return BY_WORKERS, told
        verdict = _by("the kind of queue", [None if each is None else each != limited for each in gained])
        return (f"{verdict} ({ONE_NODE})" if verdict in ("agrees", "disagrees") else verdict), told

    return judge


def _partition_order(facts: Facts) -> tuple[str, str]:
    keyed, total = facts.late_within_key(KAFKA), facts.late(KAFKA, "total")
    told = f"late: plain {facts.late(KAFKA, 'plain').text(0)} %, within a key {keyed.text(1)} %, one partition "
    return _agrees(keyed.highest == 0 and total.highest == 0), f"{told}{total.text(1)} %"


def _queue_order(*kinds: str) -> Judge:
    def judge(facts: Facts) -> tuple[str, str]:
        told = "; ".join(_told_order(facts, kind) for kind in kinds)
        ordered = all(facts.late(kind, "total").highest == 0 for kind in kinds)
        mixed_up = any(facts.late(kind, "plain").highest > 0 for kind in kinds)
        if ordered and mixed_up:
            return "depends on the number of workers", told
        return _agrees(ordered), told

    return judge


def _told_order(facts: Facts, kind: str) -> str:
    plain, total = facts.late(kind, "plain"), facts.late(kind, "total")
    try:
        keyed = f"{facts.late_within_key(kind).text(1)} %"
    except Unmeasured as missing:
        keyed = f"not told: {missing}"
    return f"{kind}: late with several workers {plain.text(0)} %, one at a time {total.text(1)} %, within a key {keyed}"


MOCK_CAVEAT = "a mock can look more ordered than SQS is"


def _mock_orders(facts: Facts) -> tuple[str, str]:
    plain, ordered = facts.count(MOCK, "late_plain"), facts.count(MOCK, "late_ordered")
    told = f"late in the mock, two workers: {plain:.0f}, with FIFO {ordered:.0f}; {MOCK_CAVEAT}"
    if ordered:
        return "disagrees (of the mock)", told
    return ("agrees (of the mock)" if plain else NEEDS_AWS[0]), told


_SYSTEMS = ("Kafka", "RabbitMQ", "ActiveMQ", "AWS SNS")
_ROWS: Mapping[str, Sequence[tuple[str, Judge]]] = {
    "Architecture": (
        ("A distributed log: stored once, read by any number of groups", _one_copy),
        ("A broker with exchanges and a queue per group", _copies_by_kind),
        ("A JMS broker with queues and topics", _copy_per_group),
        ("Managed publish/subscribe with fanout to queues", _mock_fans_out),
    ),
    "Throughput": (
        ("Very high", _kafka_is_fastest),
        ("Moderate", _rabbit_is_between),
        ("Lower than the others", _active_is_lower),
        ("High, managed", _needs_aws),
    ),
    "Persistence": (
        ("On disk for a set time, replayable", _kafka_keeps),
        ("Optional, until acknowledged", _rabbit_keeps_by_kind),
        ("On disk (KahaDB), until acknowledged", _active_keeps),
        ("None of its own", _mock_forgets),
    ),
    "Scalability": (
        ("Horizontal, by partitions", _scales(KAFKA, limited=False)),
        ("Limited", _scales(CLASSIC, QUORUM, limited=True)),
        ("Limited", _scales(ACTIVE, limited=True)),
        ("By itself", _needs_aws),
    ),
    "Ordering": (
        ("Within a partition", _partition_order),
        ("Within a queue", _queue_order(CLASSIC, QUORUM)),
        ("Within a queue", _queue_order(ACTIVE)),
        ("None; within a group with FIFO", _mock_orders),
    ),
}
CLAIMS = [
    Claim(aspect, system, assertion, judge)
    for aspect, cells in _ROWS.items()
    for system, (assertion, judge) in zip(_SYSTEMS, cells, strict=True)
]
