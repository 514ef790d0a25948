"""Runs a suite: a round has every contender once, in a new order each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.contender import Contender, Figures, Suite
from bench.stage import Stage
from bench.summary import Spread, paired_ratios

SEED = 7


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `place` is its place in the order of its round, from 0."""

    round: int
    place: int
    contender: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """All samples of a suite."""

    suite: Suite
    samples: Sequence[Sample]

    def values(self, contender: str, key: str) -> list[float]:
        """A figure of a contender, round by round; empty when it has no such figure."""
        chosen = [sample for sample in self.samples if sample.contender == contender and key in sample.figures]
        return [sample.figures[key] for sample in sorted(chosen, key=lambda sample: sample.round)]

    def spread(self, contender: str, key: str) -> Spread | None:
        values = self.values(contender, key)
        return Spread.of(values) if values else None

    def ratios(self, key: str) -> Mapping[str, Spread]:
        """Ours divided by each other contender's, by its name."""
        ours, *others = self.suite.contenders
        own = self.values(ours.name, key)
        return {other.name: paired_ratios(own, self.values(other.name, key)) for other in others}


def run_count(suite: Suite) -> int:
    """How many runs a suite has, those of the warm-up included."""
    return len(suite.contenders) * (suite.repetitions + (suite.warm_up_size > 0))


def run_suite(suite: Suite, stage: Stage, on_run: Callable[[str], None]) -> SuiteResult:
    """Call `on_run` with what runs next, before each run. Raises BenchmarkFailed."""
    order = random.Random(SEED)
    if suite.warm_up_size:
        for _place, contender in _shuffled(suite, order):
            on_run(f"warm-up: {contender.name}")
            contender.run(stage, suite.warm_up_size)
    samples = []
    for number in range(suite.repetitions):
        for place, contender in _shuffled(suite, order):
            on_run(f"{number + 1}/{suite.repetitions}: {contender.name}")
            samples.append(Sample(number, place, contender.name, contender.run(stage, suite.size)))
    return SuiteResult(suite, samples)


def _shuffled(suite: Suite, order: random.Random) -> Iterator[tuple[int, Contender]]:
    return enumerate(order.sample(list(suite.contenders), len(suite.contenders)))
