"""Asks every question of every candidate, round by round, in a new order each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.brokers.broker import Candidate, Durability
from bench.brokers.questions import Ask, Question
from bench.brokers.samples import Sample
from bench.brokers.stage import Stage

SEED = 7
ALL_AT_ONCE = 8

OnRun = Callable[[str], None]
"""Called with what runs next, before each run."""


def asked(question: Question, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of whom: no mock where something is timed, and of modes that differ in durability alone the first."""
    chosen = [candidate for candidate in candidates if question.of_mocks_too or not candidate.is_mock]
    if question.levels_apart:
        return chosen
    first_of_system = {candidate.system: candidate for candidate in reversed(chosen)}
    return [candidate for candidate in chosen if first_of_system[candidate.system] is candidate]


def run_count(questions: Sequence[Question], candidates: Sequence[Candidate], *, warm_up: bool) -> int:
    """How many runs there are."""
    warming = len(asked(questions[0], candidates)) if warm_up else 0
    return warming + sum(
        len(asked(question, candidates)) * len(question.parts) * question.repetitions for question in questions
    )


@dataclass
class Rounds:
    """A run that fails is told and the others go on: its cell stays empty."""

    stage: Stage
    candidates: Sequence[Candidate]
    on_run: OnRun
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _order: random.Random = field(default_factory=lambda: random.Random(SEED))

    def warm_up(self, question: Question) -> None:
        """Ask once and forget the answers: virtual machines compile meanwhile."""
        for candidate in asked(question, self.candidates):
            self.on_run(f"warm-up: {candidate.name}")
            self._ask(question, question.parts[0], candidate, 0, 0)
        self.samples.clear()

    def ask(self, question: Question) -> None:
        chosen = asked(question, self.candidates)
        if question.at_once:
            for candidate in chosen:
                self.on_run(f"{question.title}: {candidate.name}")
            with ThreadPoolExecutor(ALL_AT_ONCE) as pool:
                for part in question.parts:
                    list(pool.map(lambda one, part=part: self._ask(question, part, one, 0, 0), chosen))
            return
        for number in range(question.repetitions):
            for part in question.parts:
                for place, candidate in enumerate(self._order.sample(chosen, len(chosen))):
                    self.on_run(f"{question.title}, {number + 1}/{question.repetitions}: {candidate.name}")
                    self._ask(question, part, candidate, number, place)

    def _ask(self, question: Question, part: Ask, candidate: Candidate, number: int, place: int) -> None:
        try:
            answers = part(self.stage, candidate)
        except Exception as error:  # noqa: BLE001 -- each client has errors of its own; they are told and not hidden
            self.failures.append(f"{question.title}: {candidate.name}: {type(error).__name__}: {error}")
            return
        for variant, figures in answers.items():
            self.samples.append(Sample(question.key, variant, candidate.name, number, place, figures))


def levels(candidates: Sequence[Candidate]) -> list[Durability]:
    """Those that take part, mocks aside."""
    return list(dict.fromkeys(candidate.durability for candidate in candidates if not candidate.is_mock))
