"""The verbs that need no stack: for those who work on the code, and for a look at log files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from dotenv import dotenv_values

from compose.control import report
from compose.control.docker_stack import engine_answers

LEVELS: Mapping[str, Sequence[str]] = {
    "runtime": ("--extra", "sinks"),
    "control": ("--extra", "control"),
    "local": ("--extra", "local"),
    "dev": ("--extra", "dev"),
}
# Tests mostly wait. Each worker has a broker of its own; the Compose tests share one stack, and so one worker.
WORKERS = ("--numprocesses", "4", "--dist", "loadgroup")
# What the image is built with besides the build back end.
IMAGE_TOOLS = ("uv",)


def _run(root: Path, *command: str) -> int:
    report.say("$ " + " ".join(command))
    return subprocess.run(command, cwd=root, check=False).returncode


def _become(root: Path, *module: str) -> NoReturn:
    """Run a Python module in this process's place: signals reach it, and its exit code is ours."""
    command = [sys.executable, "-m", *module]
    report.say("$ " + " ".join(command))
    sys.stdout.flush()
    os.chdir(root)
    os.execv(command[0], command)  # noqa: S606 -- a shell would be one more that signals have to pass


def _tool(name: str) -> str:
    """A program of the environment that runs this."""
    return str(Path(sys.executable).parent / name)


def _all_of(root: Path, commands: Sequence[Sequence[str]]) -> int:
    """Run all of them, whatever each says; the worst exit code."""
    return max([_run(root, *command) for command in commands])


def test(root: Path) -> int:
    """All of them; those with Compose where an engine answers, and of the chaos a short selection."""
    folders = ["tests/unit", "tests/comparison", "tests/integration", "tests/chaos"]
    if engine_answers():
        folders.append("tests/compose")
    else:
        report.say("The Compose tests are left out: no Docker engine answers here.")
    present = [folder for folder in folders if (root / folder).is_dir()]
    _become(root, "pytest", *WORKERS, *present)


def lint(root: Path) -> int:
    """Style, types and the direction of imports."""
    return _all_of(
        root,
        [
            (_tool("ruff"), "check"),
            (_tool("ruff"), "format", "--check"),
            (sys.executable, "-m", "mypy"),
            (_tool("lint-imports"),),
        ],
    )


def bench(root: Path) -> int:
    """The measurements of bench/."""
    _become(root, "bench")


def compare(root: Path) -> int:
    """The brokers side by side."""
    _become(root, "bench.brokers")


def files_named_now() -> str:
    """Which files were typed behind `make formats`."""
    return os.environ.get("FILES") or os.environ.get("LOGS") or ""


def sample_options() -> list[str]:
    """How many lines of each file are looked at, where that was typed."""
    lines = os.environ.get("LINES")
    return ["--lines", lines] if lines else []


def formats(root: Path) -> int:
    """What the producer would make of FILES, by default of LOGS; without the stack, and nothing is sent."""
    files = files_named_now() or dotenv_of(root).get("LOGS", "")
    patterns = [str(Path.cwd() / pattern.strip()) for pattern in files.split(",") if pattern.strip()]
    return subprocess.run(
        [sys.executable, "-m", "services.producer.formats", *sample_options(), *patterns],
        cwd=root,
        env={**dotenv_of(root), **os.environ},
        check=False,
    ).returncode


def dotenv_of(root: Path) -> Mapping[str, str]:
    """The variables of the file .env, which hold for every verb."""
    return {name: value for name, value in dotenv_values(root / ".env").items() if value is not None}


def chaos(root: Path) -> int:
    """Every fault of tests/chaos, and the report of it."""
    _become(root, "tests.chaos")


def requirements(root: Path) -> int:
    """Resolve pyproject.toml and the brokers' jars anew, with hashes."""
    from compose.local.jars import LOCK_FILES, write_lock  # needs a package of local mode

    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    compiled = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    compiled += ["--no-header", "--no-emit-package", "nginx-kafka-pipeline"]
    commands = [
        [*compiled, "pyproject.toml", *extra, "-o", f"compose/requirements/{name}.txt"]
        for name, extra in LEVELS.items()
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".in") as build:
        project = tomllib.loads((root / "pyproject.toml").read_text())
        build.write("\n".join([*project["build-system"]["requires"], *IMAGE_TOOLS]))
        build.flush()
        commands.append([*compiled, "--no-annotate", build.name, "-o", "compose/requirements/build.txt"])
        worst = _all_of(root, commands)
    # Of ActiveMQ too, for `make compare`.
    for lock_file in (*LOCK_FILES, root / "bench" / "brokers" / "activemq.lock.toml"):
        report.say(f"{lock_file.name} holds {write_lock(lock_file)} jars.")
    return worst


VERBS: Mapping[str, Callable[[Path], int]] = {
    "test": test,
    "lint": lint,
    "bench": bench,
    "compare": compare,
    "chaos": chaos,
    "requirements": requirements,
}
