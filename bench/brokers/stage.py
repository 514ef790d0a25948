"""The brokers of a comparison, all running, each with its data in a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.brokers.broker import Broker, Candidate


@dataclass(frozen=True)
class Stage:
    """`folder` is temporary."""

    folder: Path
    brokers: Mapping[str, Broker]

    @classmethod
    @contextmanager
    def open(cls, candidates: Sequence[Candidate]) -> Iterator[Stage]:
        """Start them together. They and their data are gone when the context is left."""
        with tempfile.TemporaryDirectory(prefix="compare-") as name:
            folder = Path(name)
            brokers = {
                candidate.name: candidate.make_broker(folder / f"broker-{place}")
                for place, candidate in enumerate(candidates)
            }
            try:
                with ThreadPoolExecutor(len(brokers)) as pool:
                    list(pool.map(lambda broker: broker.start(), brokers.values()))
                yield cls(folder, brokers)
            finally:
                for broker in brokers.values():
                    broker.stop()

    @contextmanager
    def run_folder(self) -> Iterator[Path]:
        """An empty folder for one run."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)

    @contextmanager
    def fresh_broker(self, candidate: Candidate) -> Iterator[Broker]:
        """One more, without data and without a past."""
        with self.run_folder() as folder:
            broker = candidate.make_broker(folder / "broker")
            try:
                broker.start()
                yield broker
            finally:
                broker.stop()
