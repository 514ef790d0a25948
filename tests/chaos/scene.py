"""What every scenario needs: time, evidence, the fault. It knows neither producers nor consumers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.auditor import Mode
from tests.integration.consumer_driver import POLL_INTERVAL_S

PRODUCER = ("services.producer",)
# Bounds what hangs. On a quiet machine a broker is back after 10 s; on a crowded one it took 50.
WAIT_S = 60.0


class NotRun(Exception):
    """The fault cannot be brought about here, or nothing is promised of it in this mode; the message says why."""


class Vacuous(Exception):
    """The fault did not take place as meant, so that the run shows nothing."""


class Failed(Exception):
    """What had to happen did not: no progress in time, a wrong exit code, a message that is missing."""


@dataclass(frozen=True)
class Plan:
    """`seed` decides every random choice, `short` asks for fewer repetitions, `program` is the module under test.

    `patience_s`: how long nothing may arrive, while lines are owed, before they are given up for lost.
    """

    mode: Mode
    seed: int
    short: bool = False
    program: tuple[str, ...] = PRODUCER
    patience_s: float = 30.0


class Scene:
    """One run of one scenario."""

    def __init__(self, folder: Path, plan: Plan, ends_at_s: float) -> None:
        self.folder = folder
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.evidence: list[str] = []
        self.fault_began_s: float | None = None
        self.fault_ended_s: float | None = None
        self.undo = ExitStack()  # what has to be taken back when the scenario is over, however it ends
        self._ends_at_s = ends_at_s

    def repetitions(self, full: int, short: int) -> int:
        """How often, in a full run and in a short one."""
        return short if self.plan.short else full

    def until(self, condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
        """Return when it holds. Raises Failed, with what the last process said, when the time is over."""
        give_up_at = min(time.monotonic() + within_s, self._ends_at_s)
        while not condition():
            if time.monotonic() > give_up_at:
                raise Failed(f"waited in vain for {what}{self.last_words()}")
            time.sleep(POLL_INTERVAL_S)

    def last_words(self) -> str:
        """What the process that matters said last, to be appended to a sentence."""
        return ""

    @contextmanager
    def fault(self) -> Iterator[None]:
        """From the first trouble to the moment when all is as before. Once in a scenario."""
        self.fault_began_s = time.monotonic()
        yield
        self.fault_ended_s = time.monotonic()

    def observe(self, text: str) -> None:
        """Something that shows that the fault took place."""
        if (known := self.without_place(text)) not in self.evidence:
            self.evidence.append(known)

    def without_place(self, text: str) -> str:
        """A message for the report: not where on this machine it was."""
        return text.replace(str(self.folder), "…")

    def require(self, condition: bool, text: str) -> None:
        """Evidence if it holds. Raises Vacuous if not."""
        if not condition:
            raise Vacuous(f"not so: {text}")
        self.observe(text)
