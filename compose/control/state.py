"""What must outlive a make verb: which mode runs, with which choices, on which ports. One small file under .run/.

Each mode has data of its own, and so a state of its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from compose.errors import OperatorError

Mode = Literal["local", "docker"]


class StackState(BaseModel):
    """The stack of a mode that runs, or ran last: `variables` are the choices made at `up`, `scale` those of
    `make scale`, and `kafka` is the flavour that its data belongs to, `secured` whether that knows users. Of a cluster
    of yours: `servers` are where it was reached, and `cluster_id` is what it said that it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    kafka: str = ""
    servers: str = ""
    cluster_id: str = ""
    secured: bool = False
    running: bool = False
    variables: dict[str, str] = {}
    scale: dict[str, int] = {}
    ports: dict[str, int] = {}
    socket: str = ""


class _Stacks(BaseModel):
    """What the file holds. compose/control/bootstrap.sh looks for `last` in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    last: Mode
    stacks: dict[Mode, StackState]


class StateFile:
    """Reads and writes the states. One verb at a time writes them."""

    def __init__(self, run_directory: Path) -> None:
        self._file = run_directory / "stack.json"

    def load(self, mode: Mode | None = None) -> StackState | None:
        """The state of a mode, or of the one that was used last; None when no stack was started.

        Raises OperatorError when the file is damaged.
        """
        known = self._load()
        return known.stacks.get(mode or known.last) if known else None

    def _load(self) -> _Stacks | None:
        try:
            return _Stacks.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise OperatorError(
                f"{self._file} is damaged: {error.errors()[0]['msg']}.", f"Remove {self._file}, then: make up"
            ) from error

    def save(self, state: StackState) -> None:
        """Replace the state of its mode, which is now the one that was used last."""
        known = self._load()
        self._replace(state.mode, {**(known.stacks if known else {}), state.mode: state})

    def forget(self, mode: Mode) -> None:
        """There is no stack of this mode any more."""
        known = self._load()
        others = {name: state for name, state in known.stacks.items() if name != mode} if known else {}
        if others:
            self._replace(next(iter(others)), others)
        else:
            self._file.unlink(missing_ok=True)

    def _replace(self, last: Mode, stacks: dict[Mode, StackState]) -> None:
        """In one step."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        write_private(draft, _Stacks(last=last, stacks=stacks).model_dump_json(indent=1))
        draft.replace(self._file)


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner reads: choices may hold an address that is a secret."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        os.fchmod(descriptor, 0o600)  # one that was there may have been open to others
        opened.write(text)


@contextmanager
def exclusive(run_directory: Path) -> Iterator[None]:
    """Hold the stack for one verb that changes it. Raises OperatorError while another one does."""
    run_directory.mkdir(parents=True, exist_ok=True)
    with (run_directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                "Another make verb is changing the stack.", "Wait until it has ended, then try again."
            ) from error
        yield


def new_socket_file() -> Path:
    """A path for a unix socket in a private folder, short enough for the kernel's 108 bytes wherever the project is."""
    return Path(tempfile.mkdtemp(prefix="nkp-")) / "supervisor.sock"


def remove_socket_folder(socket_file: str) -> None:
    """The folder that `new_socket_file` made."""
    if socket_file:
        shutil.rmtree(Path(socket_file).parent, ignore_errors=True)
