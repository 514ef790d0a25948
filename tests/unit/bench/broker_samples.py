"""Comparisons made of a few samples."""

from __future__ import annotations

from collections.abc import Mapping

from bench.brokers.candidates import all_candidates
from bench.brokers.disk import Disk
from bench.brokers.samples import Comparison, Sample
from bench.machine import Conditions


def comparison_of(
    *samples: Sample,
    absent: Mapping[str, str] | None = None,
    unmeasured: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 1,
    quick: bool = False,
) -> Comparison:
    """Of one machine on one day."""
    return Comparison(
        conditions=Conditions("2026-01-01", 60.0, "a machine", 2, {}, 0.0),
        disk=Disk("ext4", 1.25),
        quick=quick,
        seed=seed,
        versions={candidate.name: "1" for candidate in all_candidates()},
        absent=absent or {},
        unmeasured=unmeasured or {},
        failures=[],
        samples=samples,
    )


def sampled(question: str, variant: str, candidate: str, *rounds: Mapping[str, float]) -> list[Sample]:
    """The same question round by round."""
    return [Sample(question, variant, candidate, number, 0, figures) for number, figures in enumerate(rounds)]


def throughput(candidate: str, *rates: float) -> list[Sample]:
    """Round by round."""
    return sampled("throughput", "", candidate, *({"confirmed_per_s": rate} for rate in rates))
