"""What the samples of a comparison say, by what it means. Pure.

Figures of several rounds are ranges: one is above another only where the ranges do not touch. What cannot be told
apart is None, and a verdict that rests on it depends on the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.brokers.samples import Comparison
from bench.summary import Spread

KAFKA, KAFKA_SYNCED = "Kafka, default", "Kafka, flush.messages=1"
STREAMS, CLASSIC, QUORUM = "RabbitMQ streams", "RabbitMQ classic", "RabbitMQ quorum"
ACTIVE, ACTIVE_SYNCED = "ActiveMQ, sync never", "ActiveMQ, sync always"
MOCK = "SNS + SQS (moto)"
PAGE_CACHE_LEVEL = (KAFKA, STREAMS, CLASSIC, ACTIVE)
DISK_LEVEL = (KAFKA_SYNCED, QUORUM, ACTIVE_SYNCED)
RABBIT_KINDS = (STREAMS, CLASSIC, QUORUM)
A_COPY_MORE = 1.5
"""So much more on disk for all groups than for one is more than one copy with its overhead."""
A_GAIN = 1.5
"""So many times the rate of one worker is worth calling a gain."""
SYNCED_BY_ITSELF = 5
"""A broker that syncs so many times less often than when it has to does not sync before it confirms."""


class Unmeasured(Exception):
    """A figure is missing, or shows nothing."""


def above(one: Spread, other: Spread) -> bool:
    """In every round higher than the other in any."""
    return one.lowest > other.highest


def reaches(spread: Spread, limit: float) -> bool | None:
    """In every round, in none (False), or in some (None)."""
    if spread.lowest >= limit:
        return True
    return False if spread.highest < limit else None


def is_first(own: Spread, others: Iterable[Spread]) -> bool | None:
    """Above all others; None when that cannot be told."""
    rest = list(others)
    if any(above(other, own) for other in rest):
        return False
    return True if all(above(own, other) for other in rest) else None


def is_last(own: Spread, others: Iterable[Spread]) -> bool | None:
    """Below all others; None when that cannot be told."""
    rest = list(others)
    if any(above(own, other) for other in rest):
        return False
    return True if all(above(other, own) for other in rest) else None


@dataclass(frozen=True, slots=True)
class Facts:
    """Raises Unmeasured for what is not there."""

    comparison: Comparison

    def spread(self, question: str, variant: str, candidate: str, figure: str) -> Spread:
        found = self.comparison.spread(question, variant, candidate, figure)
        if found is None:
            raise Unmeasured(f"{', '.join(filter(None, (question, variant, candidate)))}: {figure}")
        return found

    def rate(self, candidate: str) -> Spread:
        return self.spread("throughput", "", candidate, "confirmed_per_s")

    def other_rates(self, level: Sequence[str], *own: str) -> Mapping[str, Spread]:
        """Of who else was measured at a level. Raises Unmeasured when that is nobody."""
        others = [one for one in level if one not in own]
        rates = {one: self.comparison.spread("throughput", "", one, "confirmed_per_s") for one in others}
        found = {one: rate for one, rate in rates.items() if rate is not None}
        if not found:
            raise Unmeasured("throughput: nobody to compare with")
        return found

    def rate_told(self, candidate: str) -> str:
        """With the broker's CPU, which tells more about its limit."""
        cpu = self.comparison.spread("throughput", "", candidate, "broker_cpu_us")
        told = f"{self.rate(candidate).text(0)}/s"
        return f"{told} with {cpu.median:.0f} µs of broker CPU each" if cpu else told

    def lost(self, candidate: str) -> float:
        """The most that any round with a killed broker lost."""
        return self.spread("broker-killed", "", candidate, "lost").highest

    def syncs(self, candidate: str) -> float:
        """Per 1,000 confirmed."""
        return self.spread("sync", "", candidate, "syncs_per_1000").median

    def copies(self, candidate: str) -> Spread:
        """Bytes on disk for the most groups by those for the fewest."""
        fewest, most = self._ends(self.comparison.variants("stored"), "stored")
        return self._ratio("stored", "disk_bytes_per_message", candidate, most, fewest)

    def gain(self, candidate: str) -> tuple[str, Spread]:
        """The most workers, and their rate by that of one."""
        one, most = self._ends(self._variants_of("plain"), "workers")
        return most.partition(",")[0], self._ratio("workers", "handled_per_s", candidate, most, one)

    def late(self, candidate: str, order: str) -> Spread:
        """Per cent of all messages, with the most workers."""
        return self._of_most_workers(candidate, order, "late_percent")

    def late_within_key(self, candidate: str) -> Spread:
        """Per cent, with order by key. Raises Unmeasured where messages of a key stay in order without it too."""
        if self._of_most_workers(candidate, "plain", "late_within_key_percent").highest == 0:
            raise Unmeasured("plain mixes nothing up within a key either")
        return self._of_most_workers(candidate, "keyed", "late_within_key_percent")

    def share_seen(self, candidate: str, figure: str) -> float:
        """Of the messages that were published."""
        return self.count(candidate, figure) / self.count(candidate, "published")

    def count(self, candidate: str, figure: str) -> float:
        """Of the behaviour, which is asked once."""
        return self.spread("behaviour", "", candidate, figure).median

    def _of_most_workers(self, candidate: str, order: str, figure: str) -> Spread:
        variants = self._variants_of(order)
        if not variants:
            raise Unmeasured(f"workers: no variant {order}")
        return self.spread("workers", variants[-1], candidate, figure)

    def _variants_of(self, order: str) -> list[str]:
        return [variant for variant in self.comparison.variants("workers") if variant.endswith(f", {order}")]

    def _ends(self, variants: Sequence[str], question: str) -> tuple[str, str]:
        """The first and the last."""
        if len(variants) < 2:
            raise Unmeasured(f"{question}: fewer than two variants")
        return variants[0], variants[-1]

    def _ratio(self, question: str, figure: str, candidate: str, one: str, other: str) -> Spread:
        found = self.comparison.ratio(question, figure, (one, candidate), (other, candidate))
        if found is None:
            raise Unmeasured(f"{question}, {one} by {other}, {candidate}: {figure}")
        return found
