"""docs/events.md lists what the services log, no more and no less."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.consumer.readiness import Obstacle
from services.consumer.sinks.stdout import StdoutSink
from tests.unit.docs.generated import ROOT
from tests.unit.docs.pages import names, rows

LEVELS = {"debug", "info", "warning", "error", "critical"}
# Names that the code puts together when it runs: the source of the parts, and the names they make.
COMPOSED: Mapping[str, list[str]] = {
    f"{{obstacle}}_{change}": [f"{each}_{change}" for each in Obstacle if each is not Obstacle.GROUP]
    for change in ("unavailable", "available")
}
# Lines that do not come from a call of the logger: the foreign loggers' and the records themselves.
OTHER_LINES = {("all", "library_message"): {"warning", "error"}, ("consumer", "record"): set[str]()}


def logged() -> dict[tuple[str, str], set[str]]:
    """The levels of every event, by service and name."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for folder in ("services", "shared"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            service = path.relative_to(ROOT).parts[1] if folder == "services" else "all"
            for name, level in events_of(path):
                found[service, name].add(level)
    return dict(found)


def events_of(path: Path) -> Iterator[tuple[str, str]]:
    """Name and level of each event that a module logs, or that its FileEvents become."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            for name in names_of(node.args[0]):
                yield name, node.func.attr
        elif isinstance(node.func, ast.Name) and node.func.id == "FileEvent":
            level = ast.literal_eval(node.args[2]) if len(node.args) > 2 else "info"
            yield ast.literal_eval(node.args[0]), level


def names_of(argument: ast.expr) -> list[str]:
    """The names that the first argument of a logging call can have."""
    match argument:
        case ast.Constant(value=str(name)):
            return [name]
        case ast.IfExp(body=one, orelse=other):
            return names_of(one) + names_of(other)
        case ast.JoinedStr():
            return COMPOSED[ast.unparse(argument)[2:-1]]
    pytest.fail(f"the name of an event cannot be read from {ast.unparse(argument)}")


def documented() -> dict[tuple[str, str], set[str]]:
    """The same, from the tables."""
    found: dict[tuple[str, str], set[str]] = {}
    for event, level, service, _meaning in rows("events.md", "event"):
        for name in names(event):
            assert (service, name) not in found, f"{name} of {service} stands there twice"
            found[service, name] = set(level.split(", ")) & LEVELS
    return found


def test_every_event_is_listed_with_its_level_and_nothing_else_is() -> None:
    """Someone who searches the log for a listed event must find it."""
    assert documented() == {**logged(), **OTHER_LINES}


def test_every_listed_event_has_a_meaning() -> None:
    """A name alone explains nothing."""
    assert all(meaning.endswith((".", ".)")) for *_others, meaning in rows("events.md", "event"))


def test_records_are_printed_under_the_listed_name() -> None:
    """The stdout sink writes its lines without the logger."""
    source = ROOT.joinpath(*StdoutSink.__module__.split(".")).with_suffix(".py").read_text()
    assert '"event":"record"' in source
