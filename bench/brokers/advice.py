"""Which broker for what, in ten lines with the figures that they rest on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.brokers.claims import ACTIVE, ACTIVE_SYNCED, CLASSIC, KAFKA, KAFKA_SYNCED, QUORUM, STREAMS, Facts, Unmeasured
from bench.brokers.samples import Comparison

NOT_HERE = "not measured here"
CANDIDATES = {
    "kafka": KAFKA,
    "kafkasynced": KAFKA_SYNCED,
    "streams": STREAMS,
    "classic": CLASSIC,
    "quorum": QUORUM,
    "active": ACTIVE,
    "activesynced": ACTIVE_SYNCED,
}
LINES = """\
**Kafka** if groups come and go and each has to see history: a late group saw {seen_kafka}, at no copy per group.
**Kafka** if order by key has to survive more workers: late within a key {late_kafka}.
**Kafka with flush.messages=1** if one node has to survive a power cut: {rate_kafkasynced}; replicas are usual instead.
**RabbitMQ streams** if you run RabbitMQ and want a log: {rate_streams}, a late group saw {seen_streams}.
**RabbitMQ quorum queues** if messages are tasks that must not be lost: {rate_quorum}, each after an fsync.
**RabbitMQ classic queues** if routing matters and a power cut may cost the last moments: {rate_classic}.
**ActiveMQ** if JMS is what your programs speak: {rate_activesynced} after an fsync, {rate_active} without.
**A queue of any kind** if one slow message must not hold up those behind it: workers share by message, not partition.
**SNS with SQS** if nobody is to operate a broker and some tens of milliseconds do not matter; measure it where you are.
**None for its rate alone**: look at the ladder of latencies first, and at the rate at which your logs grow.
""".splitlines()


def advice(comparison: Comparison) -> Sequence[str]:
    """Ten lines."""
    facts = Facts(comparison)
    return tuple(line.format_map(_Figures(facts)) for line in LINES)


class _Figures(dict[str, str]):
    """What stands in braces: `rate`, `seen` or `late`, and the candidate's short name."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def __missing__(self, name: str) -> str:
        kind, _, short = name.partition("_")
        try:
            return _TELL[kind](self._facts, CANDIDATES[short])
        except Unmeasured:
            return NOT_HERE


_TELL: Mapping[str, Callable[[Facts, str], str]] = {
    "rate": lambda facts, candidate: f"{facts.rate(candidate):,.0f} confirmed/s",
    "seen": lambda facts, candidate: f"{facts.share_seen(candidate, 'late_group'):.0%} of what came before it",
    "late": lambda facts, candidate: f"{facts.late(candidate, 'keyed', 'late_within_key_percent'):.1f} %",
}
