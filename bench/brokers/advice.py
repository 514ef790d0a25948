"""Which broker for what, in ten lines that hang on figures: what these do not bear out is said to be so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    STREAMS,
    SYNCED_BY_ITSELF,
    Facts,
    Unmeasured,
    is_first,
    reaches,
)
from bench.brokers.samples import NOT_HERE, Comparison

Holds = Callable[[Facts], tuple[bool | None, str]]
"""Whether the figures bear it out, None where that cannot be told, and which they are. Raises Unmeasured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One piece of advice."""

    choice: str
    case: str
    holds: Holds

    def text(self, facts: Facts) -> str:
        """With its figures, or with what is the matter with them."""
        try:
            held, told = self.holds(facts)
        except Unmeasured as missing:
            return f"**{self.choice}** {self.case}: {NOT_HERE}; {missing}."
        if held is None:
            return f"Perhaps **{self.choice}** {self.case}: ranges overlap; {told}."
        return f"**{self.choice}** {self.case}: {told}." if held else f"Not **{self.choice}** {self.case}: {told}."


def advice(comparison: Comparison) -> Sequence[str]:
    """Ten lines."""
    facts = Facts(comparison)
    return tuple(line.text(facts) for line in LINES)


def _history(candidate: str) -> Holds:
    def holds(facts: Facts) -> tuple[bool | None, str]:
        seen, copies = facts.share_seen(candidate, "late_group"), facts.copies(candidate)
        told = f"a late group saw {seen:.0%} of what came before it, all groups take {copies.text(1)} times the disk"
        more = reaches(copies, A_COPY_MORE)
        return seen == 1 and (None if more is None else not more), told

    return holds


def _order_by_key(facts: Facts) -> tuple[bool, str]:
    late = facts.late_within_key(KAFKA)
    return late.highest == 0, f"late within a key {late.text(1)} %"


def _survives_power_cut(facts: Facts) -> tuple[bool, str]:
    synced, syncs = facts.syncs(KAFKA_SYNCED), facts.syncs(KAFKA)
    told = f"{synced:.0f} syncs per 1,000 confirmed, by default {syncs:.0f}; {_rate(facts, KAFKA_SYNCED)}"
    return synced > syncs * SYNCED_BY_ITSELF, f"{told}; replicas are usual instead"


def _rate(facts: Facts, candidate: str) -> str:
    return f"{facts.rate(candidate).text(0)} confirmed/s"


def _loses_nothing(*candidates: str) -> Holds:
    def holds(facts: Facts) -> tuple[bool, str]:
        lost = max(facts.lost(candidate) for candidate in candidates)
        rates = ", ".join(f"{candidate} {_rate(facts, candidate)}" for candidate in candidates)
        return lost == 0, f"{rates}; lost by SIGKILL of the broker: {lost:.0f}"

    return holds


def _shares_by_message(facts: Facts) -> tuple[bool | None, str]:
    workers, gain = facts.gain(CLASSIC)
    return reaches(gain, A_GAIN), f"{workers} workers {gain.text(1)} times one, without partitions to plan"


def _mock_fans_out(facts: Facts) -> tuple[bool, str]:
    share = facts.share_seen(MOCK, "each_of_two_groups")
    return share == 1, f"each queue of a mock got {share:.0%}; the rest needs AWS, measure it where you are"


def _someone_is_first(facts: Facts) -> tuple[bool, str]:
    """A product is above the others at both levels of durability."""
    pairs = ((KAFKA, KAFKA_SYNCED), (STREAMS, QUORUM), (CLASSIC, QUORUM), (ACTIVE, ACTIVE_SYNCED))
    both = [
        (page, disk)
        for page, disk in pairs
        if _first(facts, page, PAGE_CACHE_LEVEL) and _first(facts, disk, DISK_LEVEL)
    ]
    told = f"{' and '.join(both[0])} are first at their levels" if both else "no product is first at both levels"
    return bool(both), f"{told}; look at the ladder of latencies, and at the rate at which your logs grow"


def _first(facts: Facts, candidate: str, level: Sequence[str]) -> bool:
    return is_first(facts.rate(candidate), facts.other_rates(level, candidate).values()) is True


LINES = (
    Line("Kafka", "if groups come and go and each has to see history", _history(KAFKA)),
    Line("Kafka", "if order by key has to survive more workers", _order_by_key),
    Line(
        "Kafka with flush.messages=1", "if you run Kafka and one node has to survive a power cut", _survives_power_cut
    ),
    Line("RabbitMQ streams", "if you run RabbitMQ and want a log", _history(STREAMS)),
    Line("RabbitMQ quorum queues", "if messages are tasks that must not be lost", _loses_nothing(QUORUM)),
    Line("RabbitMQ classic queues", "if a power cut may cost the last moments", _loses_nothing(CLASSIC)),
    Line(
        "ActiveMQ with sync always",
        "if JMS is what your programs speak (measured over STOMP)",
        _loses_nothing(ACTIVE_SYNCED),
    ),
    Line("A queue of any kind", "if workers come and go and order does not matter", _shares_by_message),
    Line("SNS with SQS", "if nobody is to operate a broker", _mock_fans_out),
    Line("The fastest of all", "if nothing but the rate counts", _someone_is_first),
)
