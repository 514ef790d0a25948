"""make audit, replay, replay-dead-letters: what was typed becomes the tool's command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from compose.control.stack import Stack
from compose.control.verbs import LOOKING_VERBS, STACK_VERBS, Options
from compose.errors import OperatorError


class ToolStack:
    """Remembers which tool was run."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str, Sequence[str]]] = []

    def run_tool(self, service: str, module: str, arguments: Sequence[str]) -> int:
        self.ran.append((service, module, tuple(arguments)))
        return 3


@pytest.mark.parametrize(
    ("verb", "options", "module", "arguments"),
    [
        ("audit", Options(), "audit", ()),
        ("audit", Options(json=True), "audit", ("--json",)),
        ("replay", Options(file="-a", start="5", yes=True), "replay", ("--file=-a", "--from=5", "--yes")),
        ("replay", Options(file="a", end="2026-11-22"), "replay", ("--file=a", "--to=2026-11-22")),
        ("replay-dead-letters", Options(), "replay_dead_letters", ()),
        (
            "replay-dead-letters",
            Options(reason="invalid_value", yes=True),
            "replay_dead_letters",
            ("--reason=invalid_value", "--yes"),
        ),
    ],
)
def test_a_verb_runs_its_tool(verb: str, options: Options, module: str, arguments: tuple[str, ...]) -> None:
    """And ends with the tool's exit code; the stack is not held meanwhile."""
    stack = ToolStack()
    assert STACK_VERBS[verb](cast("Stack", stack), options, ()) == 3
    assert stack.ran == [("producer", f"services.producer.{module}", arguments)]
    assert verb in LOOKING_VERBS


@pytest.mark.parametrize(
    ("verb", "options", "arguments"),
    [
        ("dead-letters", Options(), ("list",)),
        (
            "dead-letters",
            Options(reason="sink_failed", group="g", service="s", since="-2h", samples=0, json=True),
            ("list", "--reason=sink_failed", "--group=g", "--service=s", "--since=-2h", "--samples=0", "--json"),
        ),
        ("replay-to-group", Options(group="g", yes=True), ("replay", "--group=g", "--yes")),
    ],
)
def test_a_verb_for_dead_letters_runs_in_the_toolbox(verb: str, options: Options, arguments: tuple[str, ...]) -> None:
    """It needs Kafka alone."""
    stack = ToolStack()
    assert STACK_VERBS[verb](cast("Stack", stack), options, ()) == 3
    assert stack.ran == [("toolbox", "services.consumer.letters", arguments)]
    assert verb in LOOKING_VERBS


def test_a_replay_to_no_group_is_refused() -> None:
    """With what to type instead."""
    with pytest.raises(OperatorError, match="GROUP is not set"):
        STACK_VERBS["replay-to-group"](cast("Stack", ToolStack()), Options(), ())


def test_a_replay_without_a_file_is_refused() -> None:
    """With what to type instead."""
    with pytest.raises(OperatorError, match="FILE is not set"):
        STACK_VERBS["replay"](cast("Stack", ToolStack()), Options(), ())
