"""What is asserted of the four, aspect by aspect, and what the samples say to it. Pure.

A verdict is derived from figures, never written down: `agrees`, `disagrees`, `depends on …`, or `not measured here`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.brokers.samples import Comparison

KAFKA, KAFKA_SYNCED = "Kafka, default", "Kafka, flush.messages=1"
STREAMS, CLASSIC, QUORUM = "RabbitMQ streams", "RabbitMQ classic", "RabbitMQ quorum"
ACTIVE, ACTIVE_SYNCED = "ActiveMQ, sync never", "ActiveMQ, sync always"
MOCK = "SNS + SQS (moto)"
PAGE_CACHE_LEVEL = (KAFKA, STREAMS, CLASSIC, ACTIVE)
DISK_LEVEL = (KAFKA_SYNCED, QUORUM, ACTIVE_SYNCED)
NEARLY_ONE_COPY = 1.5
"""So much more on disk for all groups than for one is one copy with its overhead."""
SYNCED_BY_ITSELF = 5
"""A broker that syncs so many times less often than when it has to does not sync before it confirms."""
A_GAIN = 1.5
"""So many times the rate of one worker is worth calling a gain."""
NEEDS_AWS = ("not measured: needs AWS", "A mock has no throughput and does not grow.")


class Unmeasured(Exception):
    """A figure is missing."""


Judge = Callable[["Facts"], tuple[str, str]]
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


@dataclass(frozen=True, slots=True)
class Facts:
    """Medians, by what they mean."""

    comparison: Comparison

    def median(self, question: str, variant: str, candidate: str, figure: str) -> float:
        found = self.comparison.median(question, variant, candidate, figure)
        if found is None:
            raise Unmeasured(f"{question}, {variant}, {candidate}: {figure}")
        return found

    def rate(self, candidate: str) -> float:
        return self.median("throughput", "", candidate, "confirmed_per_s")

    def copies(self, candidate: str) -> float:
        """Bytes on disk for the most groups by those for the fewest."""
        fewest, most = self._ends("stored")
        one = self.median("stored", fewest, candidate, "disk_bytes_per_message")
        return self.median("stored", most, candidate, "disk_bytes_per_message") / max(one, 1.0)

    def _ends(self, question: str) -> tuple[str, str]:
        variants = self.comparison.variants(question)
        if len(variants) < 2:
            raise Unmeasured(f"{question}: fewer than two variants")
        return variants[0], variants[-1]

    def share_seen(self, candidate: str, figure: str) -> float:
        """Of the messages that were published."""
        published = self.median("behaviour", "", candidate, "published")
        return self.median("behaviour", "", candidate, figure) / published

    def gain(self, candidate: str) -> tuple[str, float]:
        """The most workers, and their rate by that of one."""
        plain = [variant for variant in self.comparison.variants("workers") if variant.endswith(", plain")]
        if len(plain) < 2:
            raise Unmeasured("workers: fewer than two variants")
        one, most = (self.median("workers", variant, candidate, "handled_per_s") for variant in (plain[0], plain[-1]))
        return plain[-1].partition(",")[0], most / one

    def late(self, candidate: str, order: str, figure: str = "late_percent") -> float:
        """Per cent, with the most workers."""
        variants = [variant for variant in self.comparison.variants("workers") if variant.endswith(f", {order}")]
        if not variants:
            raise Unmeasured(f"workers: no variant {order}")
        return self.median("workers", variants[-1], candidate, figure)

    def others(self, level: Sequence[str], candidate: str) -> list[float]:
        """Rates of who else was measured at a level. Raises Unmeasured when that is nobody."""
        rates = [self.comparison.median("throughput", "", one, "confirmed_per_s") for one in level if one != candidate]
        found = [rate for rate in rates if rate is not None]
        if not found:
            raise Unmeasured("throughput: nobody to compare with")
        return found


def judge_all(comparison: Comparison) -> list[Judged]:
    """Every cell, row by row."""
    facts = Facts(comparison)
    judged = []
    for claim in CLAIMS:
        try:
            verdict, figures = claim.judge(facts)
        except Unmeasured as missing:
            verdict, figures = "not measured here", f"missing: {missing}"
        judged.append(Judged(claim, verdict, figures))
    return judged


def _one_copy(facts: Facts) -> tuple[str, str]:
    copies = facts.copies(KAFKA)
    return _agrees(copies < NEARLY_ONE_COPY), f"four groups take {copies:.1f} times the disk of one"


def _copies_by_kind(facts: Facts) -> tuple[str, str]:
    copies = {kind: facts.copies(kind) for kind in (CLASSIC, QUORUM, STREAMS)}
    told = ", ".join(f"{kind.split()[-1]} {ratio:.1f}" for kind, ratio in copies.items())
    mixed = min(copies.values()) < NEARLY_ONE_COPY <= max(copies.values())
    return "depends on the kind of queue" if mixed else "agrees", f"disk of four groups by that of one: {told}"


def _copy_per_group(facts: Facts) -> tuple[str, str]:
    copies = facts.copies(ACTIVE)
    return _agrees(copies >= NEARLY_ONE_COPY), f"a copy per group: four groups take {copies:.1f} times the disk of one"


def _mock_fans_out(facts: Facts) -> tuple[str, str]:
    share = facts.share_seen(MOCK, "each_of_two_groups")
    return _agrees(share == 1), f"each of two queues behind a topic of the mock got {share:.0%}"


def _kafka_is_fastest(facts: Facts) -> tuple[str, str]:
    page, disk = facts.rate(KAFKA), facts.rate(KAFKA_SYNCED)
    best_page, best_disk = max(facts.others(PAGE_CACHE_LEVEL, KAFKA)), max(facts.others(DISK_LEVEL, KAFKA_SYNCED))
    told = (
        f"page cache: {page:,.0f}/s, the best other {best_page:,.0f}/s; fsync: {disk:,.0f}/s, "
        f"the best other {best_disk:,.0f}/s; single messages, 200 in flight"
    )
    first = [page >= best_page, disk >= best_disk]
    if all(first):
        return "agrees", told
    return "depends on durability" if any(first) else "depends on batching", told


def _rabbit_is_between(facts: Facts) -> tuple[str, str]:
    rates = {kind: facts.rate(kind) for kind in (STREAMS, CLASSIC, QUORUM)}
    told = ", ".join(f"{kind.split()[-1]} {rate:,.0f}/s" for kind, rate in rates.items())
    return "depends on the kind of queue" if max(rates.values()) > 3 * min(rates.values()) else "agrees", told


def _active_is_lower(facts: Facts) -> tuple[str, str]:
    page, disk = facts.rate(ACTIVE), facts.rate(ACTIVE_SYNCED)
    lowest = [page <= min(facts.others(PAGE_CACHE_LEVEL, ACTIVE)), disk <= min(facts.others(DISK_LEVEL, ACTIVE_SYNCED))]
    told = f"page cache: {page:,.0f}/s, fsync: {disk:,.0f}/s"
    if all(lowest):
        return "agrees", f"{told}, the lowest at both levels"
    if any(lowest):
        return "depends on durability", f"{told}, the lowest at {'page cache' if lowest[0] else 'fsync'} only"
    return "disagrees", f"{told}, at neither level the lowest"


def _needs_aws(facts: Facts) -> tuple[str, str]:
    return NEEDS_AWS


def _kafka_keeps(facts: Facts) -> tuple[str, str]:
    late, replayed = facts.share_seen(KAFKA, "late_group"), facts.share_seen(KAFKA, "replayed")
    lost = facts.median("broker-killed", "", KAFKA, "lost")
    told = f"a late group saw {late:.0%}, replayed {replayed:.0%}; lost by SIGKILL of the broker: {lost:.0f}"
    if late < 1 or replayed < 1 or lost:
        return "disagrees", told
    syncs = facts.comparison.median("sync", "", KAFKA, "syncs_per_1000")
    synced = facts.comparison.median("sync", "", KAFKA_SYNCED, "syncs_per_1000")
    if syncs is None or synced is None or syncs * SYNCED_BY_ITSELF >= synced:
        return "agrees", told
    return "depends on what is to be survived", f"{told}; {syncs:.1f} syncs per 1,000 confirmations: not a power cut"


def _rabbit_keeps_by_kind(facts: Facts) -> tuple[str, str]:
    lost = {kind: facts.median("broker-killed", "", kind, "lost") for kind in (CLASSIC, QUORUM, STREAMS)}
    late = {kind: facts.share_seen(kind, "late_group") for kind in lost}
    told = ", ".join(f"{kind.split()[-1]}: late group {late[kind]:.0%}, lost {lost[kind]:.0f}" for kind in lost)
    return "depends on the kind of queue" if len(set(late.values())) > 1 else "agrees", told


def _active_keeps(facts: Facts) -> tuple[str, str]:
    late = facts.share_seen(ACTIVE, "late_group")
    lost = facts.median("broker-killed", "", ACTIVE_SYNCED, "lost")
    told = f"a late group saw {late:.0%}; lost by SIGKILL of the broker: {lost:.0f}"
    return _agrees(late == 0 and lost == 0), told


def _mock_forgets(facts: Facts) -> tuple[str, str]:
    late, redelivered = facts.share_seen(MOCK, "late_group"), facts.median("behaviour", "", MOCK, "redelivered")
    told = f"in the mock a late group saw {late:.0%}, and {redelivered:.0f} unacknowledged messages came again from SQS"
    return _agrees(late == 0) + (" (of SNS; SQS keeps)" if redelivered else ""), told


def _gains(*kinds: str) -> Judge:
    def judge(facts: Facts) -> tuple[str, str]:
        gains = {kind: facts.gain(kind) for kind in kinds}
        told = ", ".join(f"{kind}: {workers} workers {gain:.1f} times one" for kind, (workers, gain) in gains.items())
        if all(gain >= A_GAIN for _workers, gain in gains.values()):
            return "depends on what is scaled", f"workers: {told}; several brokers were not measured"
        return "disagrees", f"workers: {told}"

    return judge


def _partition_order(facts: Facts) -> tuple[str, str]:
    keyed = facts.late(KAFKA, "keyed", "late_within_key_percent")
    told = f"late: plain {facts.late(KAFKA, 'plain'):.0f} %, within a key {keyed:.1f} %, one partition "
    return _agrees(keyed == 0), f"{told}{facts.late(KAFKA, 'total'):.1f} %"


def _queue_order(*kinds: str) -> Judge:
    def judge(facts: Facts) -> tuple[str, str]:
        told = "; ".join(_told_order(facts, kind) for kind in kinds)
        ordered = all(facts.late(kind, "total") == 0 for kind in kinds)
        mixed_up = any(facts.late(kind, "plain") > 0 for kind in kinds)
        if ordered and mixed_up:
            return "depends on the number of workers", told
        return _agrees(ordered), told

    return judge


def _told_order(facts: Facts, kind: str) -> str:
    plain, total = facts.late(kind, "plain"), facts.late(kind, "total")
    keyed = facts.late(kind, "keyed", "late_within_key_percent")
    return f"{kind}: late with several workers {plain:.0f} %, one at a time {total:.1f} %, within a key {keyed:.1f} %"


def _mock_orders(facts: Facts) -> tuple[str, str]:
    return "not measured: needs AWS", "A mock can look more ordered than SQS is."


def _agrees(condition: bool) -> str:
    return "agrees" if condition else "disagrees"


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
        ("Horizontal, by partitions", _gains(KAFKA)),
        ("Limited", _gains(CLASSIC, QUORUM)),
        ("Limited", _gains(ACTIVE)),
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
