"""A whole run takes the better part of an hour, so what it has played is kept: CONTINUE=1 plays what is left of the
last run, and again what was not as it has to be. The page tells which rows were played at which revision of the code.
"""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.report import Row, Run


def keep(file: Path, run: Run) -> None:
    """Whole or not at all: the process may be ended at any moment."""
    file.parent.mkdir(exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(pickle.dumps(run))
    draft.replace(file)


def load(file: Path) -> Run:
    """The run that was kept last. Raises SystemExit when there is none."""
    try:
        run = pickle.loads(file.read_bytes())  # a file of this program
    except FileNotFoundError as error:
        raise SystemExit("CONTINUE=1: no run was kept. Begin one without it.") from error
    if not isinstance(run, Run):
        raise SystemExit(f"CONTINUE=1: {file.name} is of another program. Begin a run without it.")
    return run


def left_of(playing: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The names that were not played, or not with the verdict that they have to have."""
    good = {row.name for row in rows if row.good}
    return [name for name in playing if name not in good]


def with_row(playing: Sequence[str], rows: Sequence[Row], new: Row) -> list[Row]:
    """The new row in the place of an earlier one of its name, all in the order of `playing`."""
    named = {**{row.name: row for row in rows}, new.name: new}
    return [named[name] for name in playing if name in named]


def revision_of(root: Path) -> str:
    """The commit that is played; with a plus when files differ from it, and empty outside of a repository."""
    asked = (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    told = [
        subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        for words in asked
    ]
    return told[0] + ("+" if told[1] else "")
