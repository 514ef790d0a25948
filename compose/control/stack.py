"""What a running stack offers to the verbs, the same in both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from compose.control.flavours import Flavour
from compose.control.secured import Secrets
from compose.control.state import Mode
from compose.control.topology import Service
from compose.errors import OperatorError

Tell = Callable[[str], None]
"""Called with one line of progress."""

VERIFY_LIMIT_BYTES = 64 * 1024 * 1024
"""Size above which the file of `append_lines` is renamed and begun anew; the producer finishes the old one."""


@dataclass(frozen=True)
class Replica:
    """One process or container. `started_at` changes when it is started anew; None when it does not run."""

    name: str
    service: str
    state: str
    health: str
    port: int | None
    started_at: str | None

    @property
    def running(self) -> bool:
        return self.started_at is not None


def no_answer(replica: Replica, why: str) -> OperatorError:
    """What to raise when a replica was asked in vain."""
    return OperatorError(
        f"{replica.name} does not answer: {why}", f"See what it says: make logs SERVICE={replica.service}"
    )


class Output(Protocol):
    """What the replicas of one service print from the moment this was opened."""

    def matching(self, needle: str) -> Sequence[str]:
        """Every line so far that holds `needle`."""


class Stack(Protocol):
    """A stack in one mode. Every method raises OperatorError with a next step when it cannot do its work."""

    mode: Mode
    flavour: Flavour

    @property
    def bootstrap_servers(self) -> str:
        """The brokers as this machine reaches them."""

    @property
    def secrets(self) -> Secrets | None:
        """The files of SECURE=1; None without it."""

    def login(self) -> Mapping[str, str]:
        """How this machine's tools log in to the broker: settings by the names of fields; none where nobody has to."""

    def services(self) -> Mapping[str, Service]:
        """The definition in force, by service name."""

    def variables(self) -> Mapping[str, str]:
        """The variables in force, as typed, saved or from .env."""

    def up(self, tell: Tell) -> bool:
        """Bring everything up, mend what is half there; False when there was nothing to do."""

    def down(self, tell: Tell) -> None:
        """Drain and stop everything; data stays."""

    def clean(self, tell: Tell) -> None:
        """Stop everything and remove its data."""

    def restart(self, service: str | None, tell: Tell) -> None:
        """Stop and start one service, or all that are ours."""

    def scale(self, wanted: Mapping[str, int], tell: Tell) -> None:
        """Run so many replicas of each service named; the others are not touched."""

    def replicas(self) -> Sequence[Replica]:
        """Every process or container of the stack, with its health."""

    def ask(self, replica: Replica, path: str) -> str:
        """What one of our running replicas answers to GET `path`, as text."""

    def kill_one(self, name: str) -> None:
        """SIGKILL one replica and leave it stopped."""

    def start_one(self, name: str) -> None:
        """Start a replica that was stopped."""

    def logs(self, service: str | None, follow: bool, tail_lines: int) -> Iterator[str]:
        """Lines of the logs, each with the name of its process in front."""

    def open_output(self, service: str) -> Output:
        """What the service prints from now on."""

    def archived(self, service: str, topic: str, needle: str, since: datetime) -> Sequence[str]:
        """Of every record in a service's archive of the topic, of the hours from `since` on, whose path holds `needle`,
        a JSON object with the path.
        """

    def append_lines(self, lines: Iterable[str]) -> None:
        """Write lines to the file that is followed for `make verify`."""

    def last_lines(self, replica: Replica, count: int) -> Sequence[str]:
        """The last lines that one replica said, also when it does not run any more."""

    def run_tool(self, service: str, module: str, arguments: Sequence[str]) -> int:
        """Run `python -m MODULE` on this terminal, with the settings and files of a service; its exit code."""
