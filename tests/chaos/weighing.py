"""What makes a verdict of either kind of scenario: how it ended, and whether the fault shows anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

from confluent_kafka import KafkaException

from compose.errors import OperatorError
from tests.chaos.scenario import Outcome
from tests.chaos.scene import Failed, NotRun, Scene, Vacuous


class Wanted(Protocol):
    """How many of what was written before, during and after the fault have to arrive."""

    @property
    def before(self) -> int: ...
    @property
    def during(self) -> int: ...
    @property
    def after(self) -> int: ...


@contextmanager
def ending_in(outcome: Outcome, scene: Scene) -> Iterator[None]:
    """How a scenario ends goes into its outcome; nothing that a service does is raised."""
    try:
        yield
    except NotRun as reason:
        outcome.not_run = str(reason)
    except Vacuous as reason:
        outcome.vacuous.append(scene.without_place(str(reason)))
    except (Failed, AssertionError) as reason:
        outcome.failures.append(scene.without_place(str(reason)))
    except (OSError, KafkaException, OperatorError) as reason:
        outcome.failures.append(scene.without_place(f"the scenario could not go on: {reason!r}"))


def fault_of(scene: Scene, outcome: Outcome) -> tuple[float, float] | None:
    """When the fault began and ended. None, and a vacuous outcome, without both; vacuous also without evidence."""
    if not scene.evidence:
        outcome.vacuous.append("nothing shows that the fault took place")
    if scene.fault_began_s is None or scene.fault_ended_s is None:
        outcome.vacuous.append("the fault did not begin and end")
        return None
    return scene.fault_began_s, scene.fault_ended_s


def count_around(fault: tuple[float, float], written_at_s: Iterable[float], wanted: Wanted, outcome: Outcome) -> None:
    """Count what arrived by when it was written: too few before, during or after the fault show nothing."""
    times = list(written_at_s)
    edges = (0.0, *fault, float("inf"))
    counts = [sum(1 for at_s in times if start <= at_s < end) for start, end in pairwise(edges)]
    outcome.written = (counts[0], counts[1], counts[2])
    least = {"before": wanted.before, "during": wanted.during, "after": wanted.after}
    for (when, fewest), count in zip(least.items(), counts, strict=True):
        if count < fewest:
            outcome.vacuous.append(
                f"{count} lines that were written {when} the fault arrived; at least {fewest} have to"
            )
