"""What a scenario is, and what came of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.auditor import Audit, Kind
from tests.chaos.stage import Stage

LEAST_LINES = 100


class Verdict(StrEnum):
    """Of one scenario."""

    GREEN = "green"
    RED = "red"
    VACUOUS = "vacuous"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Scenario:
    """`fault` is an entry of the table of faults. `before`, `during` and `after` say how many lines have to be in the
    topic that were written then; a fault that nobody can write through has `during=0`.
    """

    fault: str
    play: Callable[[Stage], None]
    before: int = LEAST_LINES
    during: int = LEAST_LINES
    after: int = LEAST_LINES
    cluster: bool = False
    limit_s: float = 150.0

    @property
    def name(self) -> str:
        """That of the function that plays it."""
        return self.play.__name__


@dataclass
class Outcome:
    """What came of it. `failures` are promises that were broken besides what the audit found."""

    name: str
    evidence: list[str] = field(default_factory=list)
    audit: Audit | None = None
    written: tuple[int, int, int] = (0, 0, 0)  # lines in the topic that were written before, during, after
    first_s: float | None = None  # from the fault's end to the first line that came
    drained_s: float | None = None  # and to as many lines as had been written when it ended
    paused_s: tuple[float, float] | None = None  # while a group grew and shrank: partitions that stayed, that moved
    failures: list[str] = field(default_factory=list)
    vacuous: list[str] = field(default_factory=list)
    not_run: str | None = None
    took_s: float = 0.0
    audit_s: float = 0.0

    @property
    def red(self) -> set[Kind]:
        """What the audit found wrong."""
        return self.audit.red if self.audit else set()

    @property
    def verdict(self) -> Verdict:
        if self.not_run is not None:
            return Verdict.NOT_RUN
        if self.red or self.failures:
            return Verdict.RED
        return Verdict.VACUOUS if self.vacuous else Verdict.GREEN

    @property
    def problems(self) -> list[str]:
        """In sentences, with samples."""
        found = [
            f"{finding.count} {kind}, such as: {'; '.join(finding.samples)}"
            for kind, finding in (self.audit.findings.items() if self.audit else ())
            if finding.count
        ]
        return [*self.failures, *found, *self.vacuous]
