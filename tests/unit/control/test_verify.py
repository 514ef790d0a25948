"""How the verbs wait: as long as something moves, and never for nothing."""

from __future__ import annotations

from typing import cast

import pytest

from compose.control import verify
from compose.control.stack import Stack
from compose.control.verify import Run
from compose.errors import OperatorError
from shared.errors import BrokerUnavailable
from shared.kafka.groups import Group

STALL_S = verify.STALL_S


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class View:
    """A broker with these numbers of lagging copies, each for `each_s`, the last for ever; None is no answer."""

    def __init__(self, clock: Clock, answers: list[int | None], each_s: float) -> None:
        self._clock, self._answers, self._each_s = clock, answers, each_s

    def lagging_copies(self) -> int:
        answer = self._answers[min(int(self._clock.now_s / self._each_s), len(self._answers) - 1)]
        if answer is None:
            raise BrokerUnavailable("no broker answers")
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(verify, "time", made)
    return made


def wait(clock: Clock, monkeypatch: pytest.MonkeyPatch, answers: list[int | None]) -> None:
    class Anything:
        bootstrap_servers = "a:1"

        def __getattr__(self, _name: str) -> object:
            return lambda: {"producer": type("Service", (), {"environment": {"KAFKA_TOPIC": "t"}})}

    monkeypatch.setattr(verify, "KafkaView", lambda *_arguments: View(clock, answers, STALL_S - 5))
    verify.wait_for_copies(cast("Stack", Anything()), lambda _line: None)


def test_copies_that_come_one_by_one_are_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far longer than the time without a move."""
    wait(clock, monkeypatch, [3, 2, 1, 0])
    assert clock.now_s > 3 * (STALL_S - 5)


@pytest.mark.parametrize(
    ("answers", "said"),
    [([None], "No broker tells"), ([1], "1 copies of partitions are not in sync"), ([4, 2, None], "2 copies")],
)
def test_a_rolling_restart_does_not_go_on_without_its_copies(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, answers: list[int | None], said: str
) -> None:
    """Nor when nobody answers."""
    with pytest.raises(OperatorError, match=said):
        wait(clock, monkeypatch, answers)


def test_a_group_that_was_seen_and_not_measured_has_not_settled(clock: Clock) -> None:
    """The coordinator answers, and the leaders of the partitions never do."""

    class Half:
        def describe(self, names: list[str]) -> tuple[Group, ...]:
            return (Group(names[0], "Stable", (), {}),)

        def end_offsets(self) -> dict[int, int]:
            raise BrokerUnavailable("no leader")

    run = type("Run", (), {"view": Half(), "tell": staticmethod(lambda _line: None)})
    with pytest.raises(OperatorError, match="did not come to 0 members"):
        verify._group_of(cast("Run", run), "consumer", 0)
