"""What a comparison found, and the same as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.brokers.disk import Disk
from bench.contender import Figures
from bench.machine import Conditions
from bench.summary import Spread, paired_ratios

NOT_HERE = "not measured here"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: a question in one variant to one candidate. `place` is its place in its round, from 0."""

    question: str
    variant: str
    candidate: str
    round: int
    place: int
    figures: Figures


Place = tuple[str, str]
"""A variant and a candidate."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs. `absent` are the candidates that could not be started, with how to get them."""

    conditions: Conditions
    disk: Disk
    quick: bool
    seed: int
    """Of the order within the rounds; from the clock, so it tells runs of one day apart."""
    versions: Mapping[str, str]
    """Of the candidates that could be started."""
    absent: Mapping[str, str]
    unmeasured: Mapping[str, Mapping[str, str]]
    """What the machine lacked, and how to get it, by question and candidate."""
    failures: Sequence[str]
    """Runs that did not do their work: question, candidate and kind of error."""
    samples: Sequence[Sample]

    def values(self, question: str, variant: str, candidate: str, figure: str) -> dict[int, float]:
        """By round; empty where it was not measured."""
        wanted = (question, variant, candidate)
        chosen = [
            sample
            for sample in self.samples
            if (sample.question, sample.variant, sample.candidate) == wanted and figure in sample.figures
        ]
        return {sample.round: sample.figures[figure] for sample in sorted(chosen, key=lambda sample: sample.round)}

    def spread(self, question: str, variant: str, candidate: str, figure: str) -> Spread | None:
        values = self.values(question, variant, candidate, figure)
        return Spread.of([*values.values()]) if values else None

    def ratio(self, question: str, figure: str, one: Place, other: Place) -> Spread | None:
        """The figure at one place divided by that at another, over the rounds that have both; None without any."""
        ours, theirs = self.values(question, *one, figure), self.values(question, *other, figure)
        common = [number for number in ours if theirs.get(number)]
        if not common:
            return None
        return paired_ratios([ours[number] for number in common], [theirs[number] for number in common])

    def variants(self, question: str) -> list[str]:
        return list(dict.fromkeys(sample.variant for sample in self.samples if sample.question == question))


def foreign_cores(samples: Iterable[Sample]) -> list[float]:
    """What other programs kept busy, where that was looked at."""
    return [sample.figures["foreign_cores"] for sample in samples if "foreign_cores" in sample.figures]


def comparison_json(comparison: Comparison) -> str:
    """Every sample, figures to four decimals."""
    document = asdict(comparison)
    for sample in document["samples"]:
        sample["figures"] = {name: round(value, 4) for name, value in sample["figures"].items()}
    samples = ",\n".join(f"  {json.dumps(sample, ensure_ascii=False)}" for sample in document.pop("samples"))
    head = json.dumps(document, indent=1, ensure_ascii=False)
    return f'{head[:-2]},\n "samples": [\n{samples}\n ]\n}}\n'


def read_comparison(text: str) -> Comparison:
    """The other way."""
    document: dict[str, Any] = json.loads(text)
    samples = [Sample(**sample) for sample in document["samples"]]
    conditions, disk = Conditions(**document["conditions"]), Disk(**document["disk"])
    return Comparison(**document | {"conditions": conditions, "disk": disk, "samples": samples})
