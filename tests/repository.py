"""The make verbs in a copy of the working tree, which has a run directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERB_TIMEOUT_S = 400.0
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
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        return cls(folder, variables)

    def verb(self, name: str, **typed: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what is typed behind it goes before the variables."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "compose.control", name],
            cwd=self.folder,
            env={**inherited, **self.variables, **typed},
            capture_output=True,
            text=True,
            timeout=VERB_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )

    def succeeds(self, name: str, **typed: str) -> str:
        """The same, and what it said. Fails with its words."""
        done = self.verb(name, **typed)
        assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout
