"""The make verbs in a copy of the working tree, which has a run directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.java import QUICK_BROKERS

ROOT = Path(__file__).parents[1]
# Above what a verb gives itself: 600 s for Compose and 180 s until all is ready, once the image is there.
VERB_TIMEOUT_S = 900.0
COPIED = ("compose", "compose.yaml", "services", "shared", "pyproject.toml", "README.md", ".dockerignore")


@dataclass(frozen=True)
class Repository:
    """A copy of the working tree, and the variables that its verbs are called with."""

    folder: Path
    variables: Mapping[str, str]

    @classmethod
    def copied_to(cls, folder: Path, variables: Mapping[str, str]) -> Repository:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        return cls(folder, variables)

    def verb(self, name: str, **typed: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what is typed behind it goes before the variables."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        inherited |= {name: os.environ[name] for name in QUICK_BROKERS}
        command = [sys.executable, "-m", "compose.control", name]
        return run_group(command, self.folder, {**inherited, **self.variables, **typed}, VERB_TIMEOUT_S)

    def succeeds(self, name: str, **typed: str) -> str:
        """The same, and what it said. Fails with its words."""
        done = self.verb(name, **typed)
        assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def run_group(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. What takes too long is killed with its children, which would hold the outputs open."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, errors = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, errors)
