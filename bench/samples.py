"""A run as JSON, for programs and for the document that is made from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.contender import Suite
from bench.errors import BenchmarkFailed
from bench.machine import Conditions
from bench.rounds import Sample, SuiteResult

_PLACE = ("round", "place", "contender")


def samples_json(results: Sequence[SuiteResult], conditions: Conditions) -> str:
    """Every sample of every suite, figures to four decimals."""
    suites = [
        {"title": result.suite.title, "samples": [_written(sample) for sample in result.samples]} for result in results
    ]
    return json.dumps({"conditions": asdict(conditions), "suites": suites}, indent=1, ensure_ascii=False) + "\n"


def read_samples(text: str, suites: Sequence[Suite]) -> tuple[list[SuiteResult], Conditions]:
    """The other way, for the suites as they are now. Raises BenchmarkFailed when the samples are of other suites."""
    document: dict[str, Any] = json.loads(text)
    samples = {entry["title"]: [_read(sample) for sample in entry["samples"]] for entry in document["suites"]}
    for suite in suites:
        expected = {(number, one.name) for number in range(suite.repetitions) for one in suite.contenders}
        if {(sample.round, sample.contender) for sample in samples.get(suite.title, [])} != expected:
            raise BenchmarkFailed(f"the samples are not of the suite {suite.title!r} as it is now")
    return [SuiteResult(suite, samples[suite.title]) for suite in suites], Conditions(**document["conditions"])


def _written(sample: Sample) -> dict[str, Any]:
    figures = {name: round(value, 4) for name, value in sample.figures.items()}
    return {"round": sample.round, "place": sample.place, "contender": sample.contender, **figures}


def _read(entry: dict[str, Any]) -> Sample:
    figures = {name: value for name, value in entry.items() if name not in _PLACE}
    return Sample(entry["round"], entry["place"], entry["contender"], figures)
