"""What takes part in a benchmark, and what it is measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.stage import Stage

Figures = Mapping[str, float]
"""What one run showed: value by the key of a Figure."""


class Contender(Protocol):
    """One way to do the work of a suite."""

    @property
    def name(self) -> str: ...

    def run(self, stage: Stage, size: int) -> Figures:
        """Do the work once, with `size` lines or records. Raises BenchmarkFailed when it did not do all of it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of a suite's table. With `compared`, the first contender is set in relation to every other one."""

    key: str
    heading: str
    decimals: int
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Suite:
    """Contenders for one work. The first is ours. `size` is in lines or records; the warm-up is not recorded."""

    title: str
    explanation: str
    contenders: Sequence[Contender]
    figures: Sequence[Figure]
    size: int
    repetitions: int
    warm_up_size: int
