"""Asks every question of every candidate, round by round, in a new order each time."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.brokers.broker import Candidate, Durability, NotHere
from bench.brokers.questions import Ask, Question
from bench.brokers.samples import Sample
from bench.brokers.stage import Stage, run_together

OUT_OF_TIME = "OutOfTime"

log = logging.getLogger(__name__)

OnRun = Callable[[str], None]
"""Called with what runs next, before each run."""


def asked(question: Question, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of whom: no mock where something is timed, and of modes that differ in durability alone perhaps the first."""
    chosen = [candidate for candidate in candidates if question.of_mocks_too or not candidate.is_mock]
    if question.one_of_a_house:
        return _first_by(chosen, lambda candidate: candidate.system.partition(" ")[0])
    return chosen if question.levels_apart else _first_by(chosen, lambda candidate: candidate.system)


def _first_by(candidates: Sequence[Candidate], name: Callable[[Candidate], str]) -> list[Candidate]:
    first = {name(candidate): candidate for candidate in reversed(candidates)}
    return [candidate for candidate in candidates if first[name(candidate)] is candidate]


def run_count(questions: Sequence[Question], candidates: Sequence[Candidate], *, warm_up: bool) -> int:
    """How many runs there are."""
    warming = len(asked(questions[0], candidates)) if warm_up else 0
    return warming + sum(
        len(asked(question, candidates)) * len(question.parts) * question.repetitions for question in questions
    )


@dataclass
class Rounds:
    """A run that fails is told and the others go on: its cell stays empty. The log has the whole reason.

    After `give_up_at`, by the monotonic clock, runs are skipped, and told as failed.
    """

    stage: Stage
    candidates: Sequence[Candidate]
    on_run: OnRun
    seed: int
    give_up_at: float
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Question, candidate and kind of error."""
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the machine lacks, by question and candidate."""

    def __post_init__(self) -> None:
        self._order = random.Random(self.seed)

    def warm_up(self, question: Question) -> None:
        """Ask and forget the answers: virtual machines compile meanwhile."""
        for candidate in asked(question, self.candidates):
            self.on_run(f"{question.title}: {candidate.name}")
            self._ask(question, question.parts[0], candidate, 0, 0)
        self.samples.clear()

    def ask(self, questions: Sequence[Question]) -> None:
        """All together those in which no time counts; then the others in turn, round by round."""
        self._ask_together([question for question in questions if question.at_once])
        for question in questions:
            if not question.at_once:
                self._ask_in_turn(question)

    def _ask_together(self, questions: Sequence[Question]) -> None:
        run_together(
            [
                partial(self._tell_and_ask, question, part, candidate, number, 0)
                for question in questions
                for number in range(question.repetitions)
                for part in question.parts
                for candidate in asked(question, self.candidates)
            ]
        )

    def _ask_in_turn(self, question: Question) -> None:
        chosen = asked(question, self.candidates)
        for number in range(question.repetitions):
            for part in question.parts:
                for place, candidate in enumerate(self._order.sample(chosen, len(chosen))):
                    self._tell_and_ask(question, part, candidate, number, place)

    def _tell_and_ask(self, question: Question, part: Ask, candidate: Candidate, number: int, place: int) -> None:
        self.on_run(f"{question.title}, {number + 1}/{question.repetitions}: {candidate.name}")
        self._ask(question, part, candidate, number, place)

    def _ask(self, question: Question, part: Ask, candidate: Candidate, number: int, place: int) -> None:
        run = f"{question.title}: {candidate.name}"
        if time.monotonic() > self.give_up_at:
            self.failures.append(f"{run}: {OUT_OF_TIME}")
            return
        begun_at = time.monotonic()
        try:
            answers = part(self.stage, candidate)
        except NotHere as error:
            self.unmeasured.setdefault(question.key, {})[candidate.name] = str(error)
            return
        except Exception as error:  # noqa: BLE001 -- each client has errors of its own; they are told and not hidden
            log.warning("%s: %s: %s", run, type(error).__name__, error)
            self.failures.append(f"{run}: {type(error).__name__}")
            return
        log.info("%s took %.1f s", run, time.monotonic() - begun_at)
        for variant, figures in answers.items():
            self.samples.append(Sample(question.key, variant, candidate.name, number, place, figures))


def levels(candidates: Sequence[Candidate]) -> list[Durability]:
    """Those that take part, mocks aside."""
    return list(dict.fromkeys(candidate.durability for candidate in candidates if not candidate.is_mock))
