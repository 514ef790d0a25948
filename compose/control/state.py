"""What must outlive a make verb: which mode runs, with which choices, on which ports. One small file under .run/."""

from __future__ import annotations

import fcntl
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
    """The stack that runs, or ran last: `variables` are the choices made at `up`, `scale` those of `make scale`, and
    `kafka` is the flavour that its data belongs to, `secured` whether that knows users.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    kafka: str = ""
    secured: bool = False
    running: bool = False
    variables: dict[str, str] = {}
    scale: dict[str, int] = {}
    ports: dict[str, int] = {}
    socket: str = ""


class StateFile:
    """Reads and writes the state. One verb at a time writes it."""

    def __init__(self, run_directory: Path) -> None:
        self._file = run_directory / "stack.json"

    def load(self) -> StackState | None:
        """The state, or None when no stack was started. Raises OperatorError when the file is damaged."""
        try:
            return StackState.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise OperatorError(
                f"{self._file} is damaged: {error.errors()[0]['msg']}.", f"Remove {self._file}, then: make up"
            ) from error

    def save(self, state: StackState) -> None:
        """Replace the state in one step."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_text(state.model_dump_json(indent=1))
        draft.replace(self._file)

    def forget(self) -> None:
        """No stack runs any more."""
        self._file.unlink(missing_ok=True)


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
