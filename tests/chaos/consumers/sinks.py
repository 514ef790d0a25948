"""The sinks under test: how a replica is told to use one, and how what it wrote is read by other means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.chaos.consumers.audit import Taken
from tests.chaos.consumers.numbered import number_in_path

HANDLER = "tests.chaos.consumers.handler_to_file:handle"


@dataclass(frozen=True)
class Place:
    """Where a sink of one scenario is. `folder` is there and empty."""

    folder: Path
    run: str
    bootstrap_servers: str


class SinkUnderTest(Protocol):
    """One sink of one scenario."""

    @property
    def name(self) -> str: ...

    @property
    def exactly_once(self) -> bool: ...

    def settings(self) -> Mapping[str, str]:
        """For every replica."""

    def read(self) -> Iterator[Taken]:
        """Everything that it has, in its own order."""

    def close(self) -> None:
        """Undo what was set up."""


class HandlerToFile:
    """A user's function that appends to a file per process; its lines carry the moment, to be put in order."""

    name = "handler"
    exactly_once = False

    def __init__(self, place: Place) -> None:
        self.folder = place.folder
        self._run = place.run

    def settings(self) -> Mapping[str, str]:
        return {"HANDLER": HANDLER, "CHAOS_SINK": str(self.folder)}

    def read(self) -> Iterator[Taken]:
        lines: list[tuple[int, int, str]] = []
        for file in sorted(self.folder.glob("*.taken")):
            for line in file.read_text().splitlines():
                moment_ns, _, path = line.partition(" ")
                lines.append((int(moment_ns), len(lines), path))
        for _moment_ns, _order, path in sorted(lines):
            yield Taken(number_in_path(self._run, path))

    def close(self) -> None:
        """Nothing to undo."""


SINKS: Mapping[str, Callable[[Place], SinkUnderTest]] = {"handler": HandlerToFile}
