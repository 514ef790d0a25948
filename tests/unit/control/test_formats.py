"""make formats: the files that are named, or those that the stack follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from compose.control import __main__ as control
from compose.control import develop
from compose.control.state import StackState, StateFile

Ran = list[tuple[str, Sequence[str]]]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What was run: through the stack's producer, or from here."""
    found: Ran = []

    class Stack:
        def run_tool(self, _service: str, module: str, arguments: Sequence[str]) -> int:
            found.append((module, arguments))
            return 0

    def from_here(_root: Path) -> int:
        found.append(("here", ()))
        return 0

    for name in ("FILES", "LOGS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(control, "ROOT", tmp_path)
    monkeypatch.setattr(control, "open_stack", lambda _root: Stack())
    monkeypatch.setattr(develop, "formats", from_here)
    return found


def test_without_files_it_looks_at_what_the_stack_follows(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the producer's files, its format and its nginx.conf, also when it was stopped."""
    StateFile(tmp_path / ".run").save(StackState(mode="local", variables={"LOGS": "/srv/a.log"}))
    monkeypatch.setenv("LINES", "50")
    assert control.main(["formats"]) == 0
    assert ran == [("services.producer.formats", ["--lines", "50"])]


@pytest.mark.parametrize("variable", ["FILES", "LOGS"])
def test_files_that_are_named_are_looked_at_from_here(
    ran: Ran, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need not be where the producer sees them."""
    StateFile(tmp_path / ".run").save(StackState(mode="docker", running=True))
    monkeypatch.setenv(variable, "/srv/b.log")
    assert control.main(["formats"]) == 0
    assert ran == [("here", ())]


def test_without_a_stack_it_works_too(ran: Ran) -> None:
    """A look before the first `make up`."""
    assert control.main(["formats"]) == 0
    assert ran == [("here", ())]
