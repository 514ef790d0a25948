"""Asks every service whether its settings are right, before anything is started or stopped for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from compose.control.choices import NOTHING_CHANGED
from compose.control.topology import Service
from compose.errors import OperatorError

ROOT = Path(__file__).parents[2]
CHECK_TIMEOUT_S = 60.0
# What a Python program needs of its surroundings; a service's settings come from the stack alone.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")

# What a service says around its findings.
FRAME = ("This service cannot start.", "See --help for every setting.")


def check_settings(services: Iterable[Service]) -> None:
    """Run `python -m SERVICE --check` for each service that starts by itself.

    Raises OperatorError with what the services say: the variable, its value and what is allowed.
    """
    surroundings = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    running = [
        subprocess.Popen(
            [sys.executable, *service.command[1:], "--check"],
            cwd=ROOT,
            env={**surroundings, **service.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for service in services
        if service.command[:2] == ("python", "-m") and not service.profiles and len(service.command) == 3
    ]
    said: dict[str, None] = {}
    for process in running:
        _, errors = process.communicate(timeout=CHECK_TIMEOUT_S)
        if process.returncode != 0:
            said.update(dict.fromkeys(line for line in errors.splitlines() if line not in FRAME))
    if said:
        raise OperatorError("\n".join(said), NOTHING_CHANGED)
