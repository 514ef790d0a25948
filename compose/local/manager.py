"""supervisor as this project uses it: one daemon per repository, spoken to over a private socket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from compose.errors import OperatorError
from compose.local.broker import BROKER_CLASS, ZOOKEEPER_CLASS

MARK = "NGINX_KAFKA_PIPELINE_STACK"
"""Every process under our daemon inherits this variable, its value the run directory: orphans are found by it."""

# What processes inherit from the shell that ran `make up`; settings reach them through the configuration alone, but for
# what every Java of a machine is told.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "JAVA_TOOL_OPTIONS")
DAEMON_START_TIMEOUT_S = 15.0
ORPHAN_STOP_TIMEOUT_S = 30.0
ORPHAN_KILL_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.1


@dataclass(frozen=True)
class ProcessState:
    """What supervisor says of a process: `state` is RUNNING, STARTING, BACKOFF, FATAL, EXITED, STOPPED …"""

    name: str
    state: str
    pid: int
    started_at_s: int
    detail: str

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "STARTING")


class Manager:
    """Talks to the daemon of one run directory. Raises OperatorError when the daemon refuses something."""

    def __init__(self, run_directory: Path, socket_file: Path) -> None:
        self._run_directory = run_directory
        self._socket_file = socket_file

    @property
    def configuration_file(self) -> Path:
        return self._run_directory / "supervisord.conf"

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket_file}")
        # The address is never used: the transport goes to the socket.
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def alive(self) -> bool:
        """Whether the daemon answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def launch(self) -> None:
        """Start the daemon on the written configuration and wait until it answers."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment = {**inherited, MARK: str(self._run_directory), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration_file)]
        if os.geteuid() == 0:
            command += ["--user", "root"]  # otherwise it warns that it keeps the privileges it was given
        self._socket_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=DAEMON_START_TIMEOUT_S, check=False
        )
        deadline = time.monotonic() + DAEMON_START_TIMEOUT_S
        while not self.alive():
            if result.returncode != 0 or time.monotonic() > deadline:
                raise OperatorError(
                    f"The process manager did not start: {(result.stderr or result.stdout).strip() or 'no message'}",
                    f"Read {self._run_directory / 'logs' / 'supervisord.log'}.",
                )
            time.sleep(POLL_INTERVAL_S)

    def states(self) -> tuple[ProcessState, ...]:
        """Every process that the daemon knows."""
        return tuple(
            ProcessState(
                entry["name"],
                entry["statename"],
                entry["pid"],
                entry["start"],
                entry["spawnerr"] or entry["description"],
            )
            for entry in self._call("getAllProcessInfo")
        )

    def apply_configuration(self) -> bool:
        """Take over a rewritten configuration; processes that are the same in it are not touched. True for a change."""
        [[added, changed, removed]] = self._call("reloadConfig")
        for name in [*removed, *changed]:
            self._call("stopProcessGroup", name, True)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)
        return bool(added or changed or removed)

    def start(self, name: str) -> None:
        """Start a process unless it runs, without waiting for it to stay."""
        with _ignoring("ALREADY_STARTED"):
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """SIGTERM and wait, SIGKILL after its stop time. Nothing happens when it does not run."""
        with _ignoring("NOT_RUNNING"):
            self._call("stopProcess", name, True)

    def shut_down(self, timeout_s: float) -> None:
        """Stop every process in order, then the daemon; returns when it is gone."""
        pid = self._call("getPID")
        self._call("shutdown")
        give_up_at = time.monotonic() + timeout_s
        while _runs(pid):
            if time.monotonic() > give_up_at:
                raise OperatorError(
                    f"The stack was told to stop and still runs after {timeout_s:g} s.", "Look with: make status"
                )
            time.sleep(POLL_INTERVAL_S)


@contextmanager
def _ignoring(fault_name: str) -> Iterator[None]:
    """Let the one fault of that name pass."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if not fault.faultString.startswith(fault_name):
            raise


def _runs(pid: int) -> bool:
    """A process that has ended stays as a zombie where nobody collects it, as in a container without an init."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def orphans(run_directory: Path) -> tuple[psutil.Process, ...]:
    """Processes that bear our mark, the daemon itself included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(run_directory):
                found.append(process)
    return tuple(found)


def stop_orphans(processes: Iterable[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL to those that stay, in waves: others drain into the brokers, which sign off at ZooKeeper."""
    waves: dict[str, list[psutil.Process]] = {"": [], BROKER_CLASS: [], ZOOKEEPER_CLASS: []}
    for process in processes:
        with suppress(psutil.Error):
            command = process.cmdline()
            waves[next((name for name in waves if name and name in command), "")].append(process)
    for waiting in waves.values():
        _signal_all(waiting, psutil.Process.terminate)
        _gone, alive = psutil.wait_procs(waiting, timeout=ORPHAN_STOP_TIMEOUT_S)
        _signal_all(alive, psutil.Process.kill)
        psutil.wait_procs(alive, timeout=ORPHAN_KILL_TIMEOUT_S)


def _signal_all(processes: Iterable[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            send(process)


def listener_on(port: int) -> str:
    """Who listens on a port, in words; the system tells only the owner and root."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:2] == (port,):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"
