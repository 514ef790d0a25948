"""From what the operator typed to the variables of the Compose files. Pure but for what looks at files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from compose.control.state import Mode
from compose.control.topology import Service
from compose.errors import OperatorError

LOG_FOLDER = "/var/log/nginx"
NGINX_FOLDER = "/etc/nginx"
# Variables that no Compose file refers to and that change what the verbs do all the same.
OTHER_VARIABLES = frozenset({"LOGS", "COMPOSE_PROJECT_NAME", "SECURE"})
# Settings that each service of the Compose files has a value of its own for, or none.
OF_ONE_SERVICE = ("SERVICE_NAME", "SINK", "TRANSFORM")
MAX_REPLICAS = 64
MAX_DEMO_RATE = 100_000
NOTHING_CHANGED = "Correct the variable and run `make up` again. Nothing was changed."


def known_variables(names: frozenset[str], source: Mapping[str, str | None]) -> dict[str, str]:
    """Those variables of a source, the shell's or .env's, that the stack knows."""
    return {name: value for name, value in source.items() if name in names | OTHER_VARIABLES and value is not None}


def not_taken(typed: Mapping[str, str]) -> Iterator[str]:
    """What was typed, or is in the environment, and would change nothing: one sentence each."""
    for name in OF_ONE_SERVICE:
        if value := typed.get(name):
            yield f"{name}={value} changes nothing: services have their own. See docs/adding-a-consumer.md"


def check_numbers(variables: Mapping[str, str]) -> None:
    """What no service looks at, because Compose or the demo takes it. Raises OperatorError with all that is wrong."""
    wrong = []
    for name, value in sorted(variables.items()):
        if not value:  # takes an earlier choice back
            continue
        if name.endswith("_REPLICAS") and not _is_whole(value, MAX_REPLICAS):
            wrong.append(f"{name}={value!r} is not allowed: a whole number from 0 to {MAX_REPLICAS}.")
        elif name == "DEMO_RATE" and not _is_rate(value):
            wrong.append(f"{name}={value!r} is not allowed: requests per second, above 0 and up to {MAX_DEMO_RATE}.")
    if wrong:
        raise OperatorError("\n".join(wrong), NOTHING_CHANGED)


def _is_whole(text: str, largest: int) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= largest


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) <= MAX_DEMO_RATE
    except ValueError:
        return False


def with_log_files(variables: Mapping[str, str], mode: Mode, current: Path) -> dict[str, str]:
    """The variables with LOGS spelled out as the Compose files want it: a folder to mount and patterns in it."""
    logs = variables.get("LOGS", "")
    if not logs:
        return dict(variables)
    patterns = [str(current / pattern.strip()) for pattern in logs.split(",") if pattern.strip()]
    folders = {str(PurePosixPath(pattern).parent) for pattern in patterns}
    if len(folders) == 1 and not glob.has_magic(next(iter(folders))):
        names = ",".join(f"{LOG_FOLDER}/{PurePosixPath(pattern).name}" for pattern in patterns)
        return {**variables, "NGINX_LOG_DIR": folders.pop(), "LOG_FILES": names}
    if mode == "docker":
        raise OperatorError(
            f"LOGS={logs} names more than one folder; with Docker one folder is mounted.",
            "Name files of one folder, or use MODE=local.",
        )
    # Local mode hands absolute paths on as they are; the log folder stands for itself then.
    return {**variables, "NGINX_LOG_DIR": LOG_FOLDER, "LOG_FILES": ",".join(patterns)}


def with_nginx_conf(variables: Mapping[str, str], current: Path) -> dict[str, str]:
    """The variables with the folder of NGINX_CONF mounted where containers have nginx's configuration."""
    named = variables.get("NGINX_CONF", "")
    if not named or variables.get("NGINX_CONF_DIR"):
        return dict(variables)
    file = current / named
    return {**variables, "NGINX_CONF_DIR": str(file.parent), "NGINX_CONF": f"{NGINX_FOLDER}/{file.name}"}


def check_nginx_conf(variables: Mapping[str, str]) -> None:
    """Whether nginx's configuration is there, on this machine. Raises OperatorError."""
    named, folder = variables.get("NGINX_CONF", ""), variables.get("NGINX_CONF_DIR", "")
    if not named or "/" not in folder:  # a volume of Docker's is not to be looked into from here
        return
    file = Path(folder, PurePosixPath(named).relative_to(NGINX_FOLDER)) if _in_folder(named) else Path(named)
    if not file.is_file():
        what = "is no file" if file.exists() else "does not exist"
        raise OperatorError(f"NGINX_CONF={str(file)!r} is not usable: it {what}.", NOTHING_CHANGED)


def _in_folder(named: str) -> bool:
    return PurePosixPath(named).is_relative_to(NGINX_FOLDER)


def demo_wanted(variables: Mapping[str, str]) -> bool:
    """Whether the demo site makes the lines: nobody named own files, nobody switched it off."""
    return not variables.get("NGINX_LOG_DIR") and variables.get("DEMO_REPLICAS", "1") != "0"


def parse_scale(words: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """`consumer=4 archiver=2` as a mapping. Raises OperatorError for anything else."""
    wanted: dict[str, int] = {}
    for word in words:
        name, _, count = word.partition("=")
        if name not in known:
            raise OperatorError(f"There is no service {name!r}.", f"Try one of: {', '.join(known)}")
        if not count.isdigit() or int(count) > MAX_REPLICAS:
            raise OperatorError(
                f"{word!r} is not a number of replicas from 0 to {MAX_REPLICAS}.", "Try: make scale consumer=4"
            )
        wanted[name] = int(count)
    if not wanted:
        raise OperatorError("Nothing to scale was named.", "Try: make scale consumer=4")
    return wanted


def uses_own_database(services: Iterable[Service], variables: Mapping[str, str]) -> bool:
    """Whether one of them writes to the PostgreSQL of the stack: nobody named another one."""
    return not variables.get("POSTGRES_URL") and any(service.sink == "postgres" for service in services)


def check_logs(patterns: Sequence[str]) -> Iterator[str]:
    """What will be in the way of following these files, one sentence each. Looks at the file system."""
    for pattern in patterns:
        found = glob.glob(pattern)
        if not found:
            yield f"No file matches {pattern} yet. The producer looks again every second."
        for path in found:
            if not os.access(path, os.R_OK):
                yield (
                    f"{path} cannot be read by {os.environ.get('USER') or 'this user'}. The producer tries again; "
                    "let it read with: sudo usermod -aG adm $USER, and log in again."
                )
