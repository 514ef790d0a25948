"""The published document is what its samples say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.document import markdown
from bench.errors import BenchmarkFailed
from bench.samples import read_samples, samples_json
from bench.suites import make_suites

DOCS = Path(__file__).parents[3] / "docs"


def test_the_document_is_made_from_the_samples_beside_it() -> None:
    samples = (DOCS / "benchmarks.json").read_text()
    results, conditions = read_samples(samples, make_suites(quick=False))
    assert (DOCS / "benchmarks.md").read_text() == markdown(results, conditions)
    assert samples_json(results, conditions) == samples


def test_samples_of_other_suites_are_refused() -> None:
    with pytest.raises(BenchmarkFailed, match="Producer: from a file"):
        read_samples((DOCS / "benchmarks.json").read_text(), make_suites(quick=True))
