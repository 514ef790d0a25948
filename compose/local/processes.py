"""From the services of the Compose files to the processes of this machine, and to supervisor's configuration. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.control.topology import Service
from compose.errors import OperatorError

NGINX = "nginx"
VISITOR = "visitor"
# The brokers of the stack as its containers know them.
CONTAINER_BROKERS = re.compile(r"kafka(-\d)?:9092(,kafka(-\d)?:9092)*")
STOP_MARGIN_S = 10
DEFAULT_SHUTDOWN_TIMEOUT_S = 20
KAFKA_STOP_WAIT_S = 60
# The last of three has no majority to leave from and would wait to the end; a killed one has its records at the others.
CLUSTER_STOP_WAIT_S = 20
LOG_FILE_BYTES = 20 * 1024 * 1024
LOG_BACKUPS = 3

# Started from low to high, stopped from high to low: lines stop coming, then flow out, then the broker goes.
PRIORITIES = {"zookeeper": 5, "kafka": 10, "consumer": 100, "producer": 200, NGINX: 300, VISITOR: 400}

# glibc keeps what batches of hundreds of kilobytes were freed from unless told to give it back.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "134217728"}


@dataclass(frozen=True)
class Process:
    """One program under supervisor: a replica of a service, the broker, or a part of the demo."""

    name: str
    service: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    priority: int
    stop_wait_s: int


def process_names(service: Service, replicas: int) -> tuple[str, ...]:
    """`consumer-1`, `consumer-2`, …: as Compose numbers its containers."""
    return tuple(f"{service.name}-{number}" for number in range(1, replicas + 1))


def local_value(value: str, folders: Mapping[str, Path]) -> str:
    """A setting's value with container folders replaced by those of this machine, in each item of a comma list."""
    return ",".join(_local_path(item, folders) for item in value.split(","))


def _local_path(item: str, folders: Mapping[str, Path]) -> str:
    for container_folder, local_folder in folders.items():
        if item == container_folder or item.startswith(container_folder + "/"):
            return str(local_folder / item[len(container_folder) :].lstrip("/"))
    return item


def local_environment(
    service: Service, folders: Mapping[str, Path], bootstrap_servers: str, http_port: int
) -> dict[str, str]:
    """The environment that Compose would give, for a process that shares the machine with its neighbours."""
    environment = {name: local_value(value, folders) for name, value in service.environment.items()}
    replaced = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(http_port)}
    if CONTAINER_BROKERS.fullmatch(environment.get("KAFKA_BOOTSTRAP_SERVERS", "")):
        replaced["KAFKA_BOOTSTRAP_SERVERS"] = bootstrap_servers
    return {**ALLOCATOR, **environment, **replaced}


def stop_wait_s(environment: Mapping[str, str]) -> int:
    """Seconds between SIGTERM and SIGKILL: above the time that the service takes for draining."""
    return int(float(environment.get("SHUTDOWN_TIMEOUT_S", DEFAULT_SHUTDOWN_TIMEOUT_S))) + STOP_MARGIN_S


def service_priority(service: Service) -> int:
    """Where a service of ours stands in the order of starting and stopping."""
    return PRIORITIES["consumer" if service.group_id else "producer"]


def supervisor_configuration(run_directory: Path, root: Path, socket: Path, processes: Iterable[Process]) -> str:
    """The text of supervisord.conf. Nothing starts by itself: `up` starts in order and looks at each."""
    logs = run_directory / "logs"
    head = [
        "[supervisord]",
        f"directory = {_escape(str(root))}",
        f"logfile = {_escape(str(logs / 'supervisord.log'))}",
        "logfile_maxbytes = 5MB",
        "logfile_backups = 1",
        f"pidfile = {_escape(str(run_directory / 'supervisord.pid'))}",
        "nocleanup = true",
        "",
        "[unix_http_server]",
        f"file = {_escape(str(socket))}",
        "chmod = 0700",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    programs = [line for process in processes for line in ("", *_program(process, logs, root))]
    return "\n".join([*head, *programs]) + "\n"


def _program(process: Process, logs: Path, root: Path) -> Sequence[str]:
    environment = ",".join(f"{name}={_quote(value)}" for name, value in sorted(process.environment.items()))
    return (
        f"[program:{process.name}]",
        f"command = {_escape(shlex.join(process.command))}",
        f"directory = {_escape(str(root))}",
        f"environment = {_escape(environment)}",
        f"priority = {process.priority}",
        "autostart = false",
        "autorestart = true",
        "startsecs = 2",
        "startretries = 5",
        "stopsignal = TERM",
        f"stopwaitsecs = {process.stop_wait_s}",
        "stopasgroup = true",
        "killasgroup = true",
        "redirect_stderr = true",
        f"stdout_logfile = {_escape(str(logs / f'{process.name}.log'))}",
        f"stdout_logfile_maxbytes = {LOG_FILE_BYTES}",
        f"stdout_logfile_backups = {LOG_BACKUPS}",
    )


def _quote(value: str) -> str:
    """A value for supervisor's environment list, which knows both quotes but no escapes."""
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise OperatorError(f"The value {value!r} cannot be handed on.", "Use one kind of quotes only in a setting.")
    return f"{quote}{value}{quote}"


def _escape(text: str) -> str:
    """A value for supervisor's file format: percent signs are expansions there, a blank and ; or # a comment."""
    if "\n" in text or any(blank + mark in text for blank in " \t" for mark in ";#"):
        raise OperatorError(
            f"{text!r} holds a line break or a blank before ';' or '#', which local mode cannot hand on.",
            "Change that setting or path.",
        )
    return text.replace("%", "%%")
