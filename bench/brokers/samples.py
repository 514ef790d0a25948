"""What a comparison found, and the same as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.contender import Figures
from bench.machine import Conditions
from bench.summary import Spread, paired_ratios


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: a question in one variant to one candidate. `place` is its place in its round, from 0."""

    question: str
    variant: str
    candidate: str
    round: int
    place: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs. `absent` are the candidates that could not be started, with how to get them."""

    conditions: Conditions
    quick: bool
    versions: Mapping[str, str]
    """Of the candidates that could be started."""
    absent: Mapping[str, str]
    failures: Sequence[str]
    """Runs that did not do their work, in a sentence each."""
    samples: Sequence[Sample]

    def values(self, question: str, variant: str, candidate: str, figure: str) -> list[float]:
        """Round by round; empty where it was not measured."""
        wanted = (question, variant, candidate)
        chosen = [
            sample
            for sample in self.samples
            if (sample.question, sample.variant, sample.candidate) == wanted and figure in sample.figures
        ]
        return [sample.figures[figure] for sample in sorted(chosen, key=lambda sample: sample.round)]

    def spread(self, question: str, variant: str, candidate: str, figure: str) -> Spread | None:
        values = self.values(question, variant, candidate, figure)
        return Spread.of(values) if values else None

    def median(self, question: str, variant: str, candidate: str, figure: str) -> float | None:
        spread = self.spread(question, variant, candidate, figure)
        return None if spread is None else spread.median

    def ratio(self, question: str, variant: str, one: str, other: str, figure: str) -> Spread | None:
        """One candidate's divided by another's, round by round; None where a round lacks one or has a zero."""
        pair = (self.values(question, variant, one, figure), self.values(question, variant, other, figure))
        if not pair[0] or len(pair[0]) != len(pair[1]) or 0 in pair[1]:
            return None
        return paired_ratios(*pair)

    def candidates(self, question: str) -> list[str]:
        """Those that were asked, each once."""
        return list(dict.fromkeys(sample.candidate for sample in self.samples if sample.question == question))

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
    return Comparison(**document | {"conditions": Conditions(**document["conditions"]), "samples": samples})
