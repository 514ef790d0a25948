"""The stack as processes of this machine: supervisor keeps them, the Compose files define them."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from compose.control import health, report, secured
from compose.control.choices import check_logs, demo_wanted, uses_own_database
from compose.control.crash_loop import HAPPENED, Starts
from compose.control.flavours import (
    BROKERS,
    EXTERNAL,
    FLAVOURS,
    KRAFT,
    SERVERS_VARIABLE,
    Flavour,
    check_data,
    check_mode,
    checked_ports,
    chosen,
    host_port,
    known_of,
)
from compose.control.kafka_view import ask_cluster
from compose.control.local_plan import TOPICS, LocalPlan
from compose.control.secured import Secrets
from compose.control.stack import VERIFY_LIMIT_BYTES, Output, Replica, Tell, no_answer
from compose.control.state import (
    Mode,
    StackState,
    StateFile,
    new_socket_file,
    remove_socket_folder,
    write_private,
)
from compose.control.tail import FilesOutput, last_lines
from compose.control.topology import Service, overlaid, read_services
from compose.errors import OperatorError
from compose.local import nodes
from compose.local.broker import answers, zookeeper_answers
from compose.local.manager import Manager, ProcessState, listener_on, orphans, stop_orphans
from compose.local.nodes import ZOOKEEPER, Node
from compose.local.ports import free_port, port_is_free
from compose.local.processes import NGINX, VISITOR, supervisor_configuration
from compose.security.local import secured_settings
from shared.runtime.probe import MAX_ANSWER_BYTES

DEFAULT_KAFKA_PORT = 19092
KAFKA = BROKERS[0]
# The port on which brokers of a secured stack know each other by certificates, and all its listeners.
BROKERS_PORT = "kafka-brokers"
LISTENERS = ("HOST", "BROKER", "CONTROLLER")
KAFKA_START_TIMEOUT_S = 90.0
TOPICS_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 90.0
SHUT_DOWN_TIMEOUT_S = 180.0
POLL_INTERVAL_S = 0.2
TELL_INTERVAL_S = 5.0
FOLLOW_INTERVAL_S = 0.1
NEEDED_DISK_BYTES = 1 << 30
VERIFY_FILE = "var/log/verify/verify_access.log"
# Below the run directory; the second is held by the verb that cleans.
KEPT_FOR_DOCKER = frozenset({"stack.json", "lock", "postgres-password"})


class LocalStack:
    """See compose.control.stack.Stack. Everything that is kept lies under .run/ of the repository."""

    mode: Mode = "local"

    def __init__(
        self, root: Path, variables: Mapping[str, str], state: StackState, flavour: Flavour = FLAVOURS[KRAFT]
    ) -> None:
        self._root = root
        self.flavour = flavour
        self._run = root / ".run"
        self._variables = dict(variables)
        self._state_file = StateFile(self._run)
        self._state = state
        text = (root / "compose" / "services.yaml").read_text()
        self._overlay = secured.overlay_services(root, {**self._variables, "SECURE_DIR": str(root / secured.FOLDER)})
        self._services = overlaid(read_services(text, {**known_of(root, flavour), **self._variables}), self._overlay)

    # What is there

    @property
    def bootstrap_servers(self) -> str:
        own = (f"127.0.0.1:{port}" for port in self._broker_ports().values())
        return self._variables.get(SERVERS_VARIABLE) or ",".join(own)

    @property
    def secrets(self) -> Secrets | None:
        if not self._overlay:
            return None
        # All processes are of one user: no group has to read anything.
        folder = secured.secret_folder(self._root, None)
        return Secrets(folder, str(folder.keystore.parent.resolve()), LISTENERS)

    def login(self) -> Mapping[str, str]:
        return secured.login(self._services[TOPICS], self._root)

    def services(self) -> Mapping[str, Service]:
        return self._services

    def variables(self) -> Mapping[str, str]:
        return self._variables

    def replicas(self) -> Sequence[Replica]:
        if not self._manager().alive():
            return []
        states = sorted(self._manager().states(), key=lambda state: state.name)
        asked = {state.name: self._state.ports[state.name] for state in states if state.running and self._asks(state)}
        healths = health.health_of(asked)
        return [self._replica(state, healths) for state in states]

    def _asks(self, state: ProcessState) -> bool:
        """Whether a process has health endpoints of ours."""
        return state.name not in (*self.flavour.processes, NGINX)

    def _replica(self, state: ProcessState, healths: Mapping[str, str]) -> Replica:
        port = self._state.ports.get(state.name)
        if not state.running:
            told = state.detail
        elif state.name in self.flavour.processes:
            told = health.READY if self._node_answers(state.name) else "no answer yet"
        elif state.name == NGINX and port:
            told = health.health_of({NGINX: port}, "/healthz")[NGINX]
        else:
            told = healths.get(state.name, "")
        started_at = f"{state.started_at_s}/{state.pid}" if state.running else None
        service = state.name if not self._asks(state) else state.name.rpartition("-")[0]
        return Replica(
            state.name,
            service or state.name,
            "running" if state.running else state.state.lower(),
            told,
            port,
            started_at,
        )

    def _manager(self) -> Manager:
        return Manager(self._run, Path(self._state.socket or self._run / "none.sock"))

    def _broker_ports(self) -> dict[str, int]:
        """The door of each broker. Raises OperatorError for what cannot be had."""
        named = {broker: host_port(broker, DEFAULT_KAFKA_PORT) for broker in self.flavour.brokers}
        wanted = {
            variable: self._variables.get(variable) or str(self._state.ports.get(broker, default))
            for broker, (variable, default) in named.items()
        }
        ports = checked_ports(wanted)
        return {broker: ports[variable] for broker, (variable, _default) in named.items()}

    def _node_answers(self, name: str) -> bool:
        """Whether a broker, or what it needs, serves."""
        if name == ZOOKEEPER:
            return zookeeper_answers(self._state.ports[name])
        return answers(self._broker_ports()[name], secured.trusting(self.secrets.folder) if self.secrets else None)

    def _plan(self) -> LocalPlan:
        return LocalPlan(
            self._root,
            self._run,
            self._services,
            self._variables,
            self._state.scale,
            self._state.ports,
            self.bootstrap_servers,
        )

    # Up

    def up(self, tell: Tell) -> bool:
        check_mode(self.flavour, self.mode, self._variables)
        self._broker_ports()
        held = self._held()
        check_data(self.flavour, held, self._state.kafka)
        secured.check_unchanged(held, self._state, self.secrets)
        self._check_machine(tell)
        cluster_id = self._ask_cluster(tell)
        was_alive = self._manager().alive()
        if not was_alive:
            self._clear_away(tell)
        self._state = chosen(self._state, self.flavour, self._variables, cluster_id, is_secured=bool(self._overlay))
        self._write_configuration(self._prepare(was_alive, tell))
        manager = self._manager()
        if not was_alive:
            manager.launch()
        changed = manager.apply_configuration()
        down = {state.name for state in manager.states() if not state.running}
        if down and was_alive:
            tell(f"Starting {', '.join(sorted(down))}.")
        if not was_alive or down & set(self.flavour.processes):
            self._start_kafka(tell)
        for name in sorted(down):
            manager.start(name)
        self._wait_until_ready(tell)
        return changed or bool(down)

    def _ask_cluster(self, tell: Tell) -> str:
        """What a cluster of yours says that it is."""
        if self.flavour.brokers:
            return ""
        return ask_cluster(self.bootstrap_servers, self._state.cluster_id, self.login(), tell)

    def _held(self) -> set[str]:
        """The flavours whose data is here: below the run directory, or in a cluster of yours that was used last."""
        stored = {flavour for flavour, folder in nodes.FOLDERS.items() if (self._run / folder).is_dir()}
        return stored | ({EXTERNAL} & {self._state.kafka})

    def _check_machine(self, tell: Tell) -> None:
        for line in check_logs(self._followed_patterns()) if not demo_wanted(self._variables) else ():
            tell(f"Note: {line}")
        free = shutil.disk_usage(self._root).free
        if free < NEEDED_DISK_BYTES:
            raise OperatorError(
                f"Only {free >> 20} MB are free where {self._run} lies; Kafka needs 1 GB to start with.",
                "Free some space, then: make up",
            )

    def _followed_patterns(self) -> Sequence[str]:
        patterns = self._plan().environment(self._services["producer"], 0)["LOG_FILES"].split(",")
        return [pattern for pattern in patterns if not pattern.startswith(str(self._run))]

    def _clear_away(self, tell: Tell) -> None:
        """Processes whose manager died keep ports and files; they go first."""
        left = orphans(self._run)
        if left:
            tell(f"Stopping {len(left)} processes that an earlier run left behind.")
            stop_orphans(left)
        remove_socket_folder(self._state.socket)
        self._state = self._state.model_copy(update={"socket": ""})

    def _prepare(self, was_alive: bool, tell: Tell) -> Sequence[Node]:
        """Folders, ports and Kafka's files; the state is saved with them."""
        for folder in ("logs", "nginx/tmp", *(target.lstrip("/") for target in self._plan().mounts())):
            (self._run / folder).mkdir(parents=True, exist_ok=True)
        self._claim_ports(was_alive)
        if not self._state.socket:
            self._state = self._state.model_copy(update={"socket": str(new_socket_file())})
        self._state_file.save(self._state)
        if not self.flavour.brokers:
            return ()
        if not was_alive:
            tell("Preparing Kafka (its jars are fetched once, about 45 MB).")
        with report.counting_progress("Kafka's jars") as progress:
            return nodes.prepare(self.flavour.name, self._run, self._state.ports, progress, self._prepare_security())

    def _prepare_security(self) -> nodes.Secured:
        """What locks the broker's doors, and the files for it; nothing without SECURE=1."""
        if self.secrets is None:
            return nodes.OPEN
        folder, ports = self.secrets.folder, self._state.ports
        secured.prepare(folder, self._overlay)
        settings = secured_settings(
            self._overlay[KAFKA].environment, folder, nodes.ports_of(KAFKA, ports), ports[BROKERS_PORT]
        )
        return nodes.Secured(settings, (f"@{folder.scram_arguments.resolve()}",))

    def _claim_ports(self, was_alive: bool) -> None:
        """Each process keeps its port from run to run as long as nobody else took it."""
        ports = {broker: self._claimed(broker, port, was_alive) for broker, port in self._broker_ports().items()}
        secured_only = (BROKERS_PORT,) if self._overlay else ()
        names = (*nodes.port_names(self.flavour.name), *secured_only, *self._plan().replica_names())
        for name in (*names, *((NGINX, VISITOR + "-1") if demo_wanted(self._variables) else ())):
            port = self._state.ports.get(name)
            keeps = port is not None and (was_alive or port_is_free(port)) and port not in ports.values()
            ports[name] = port if keeps and port is not None else free_port()
        self._state = self._state.model_copy(update={"ports": ports})

    def _claimed(self, broker: str, port: int, was_alive: bool) -> int:
        if not (was_alive and self._state.ports.get(broker) == port) and not port_is_free(port):
            raise OperatorError(
                f"Port {port}, which {broker} would listen on, is taken by {listener_on(port)}.",
                f"Stop it, or choose another: make up {host_port(broker, DEFAULT_KAFKA_PORT)[0]}={free_port()}",
            )
        return port

    def _write_configuration(self, kafka: Sequence[Node]) -> None:
        processes = self._plan().processes(kafka)
        text = supervisor_configuration(self._run, self._root, Path(self._state.socket), processes)
        write_private(self._manager().configuration_file, text)

    def _start_kafka(self, tell: Tell) -> None:
        """Start Kafka and make the topics; what speaks to them comes after."""
        if self.flavour.brokers:
            tell("Waiting for Kafka.")
        for together in (self.flavour.beside, self.flavour.brokers):
            for name in together:
                self._manager().start(name)
            for name in together:
                self._wait_for_node(name)
        tell("Making the topics.")
        self._make_topics()

    def _wait_for_node(self, name: str) -> None:
        deadline = time.monotonic() + KAFKA_START_TIMEOUT_S
        while not self._node_answers(name):
            self._fail_if_given_up([name])
            if time.monotonic() > deadline:
                raise self._failure(name, f"does not answer after {KAFKA_START_TIMEOUT_S:g} s")
            time.sleep(POLL_INTERVAL_S)

    def _make_topics(self) -> None:
        """Run the one-shot service as a child; what it says goes to a log of its own."""
        service = self._services[TOPICS]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        log_file = self._log_file(TOPICS)
        with log_file.open("wb") as log:
            try:
                result = subprocess.run(
                    LocalPlan.python(service.command),
                    env={**inherited, **self._plan().environment(service, 0)},
                    cwd=self._root,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=TOPICS_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise self._failure(TOPICS, f"did not end within {TOPICS_TIMEOUT_S:g} s") from error
        if result.returncode != 0:
            raise self._failure(TOPICS, f"ended with exit code {result.returncode}")

    def _wait_until_ready(self, tell: Tell) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        told, starts = time.monotonic(), Starts()
        while waiting := [replica for replica in self.replicas() if replica.health != health.READY]:
            self._fail_if_given_up([replica.name for replica in waiting])
            if looping := starts.looping(waiting):
                raise self._failure(looping.name, HAPPENED)
            if time.monotonic() > deadline:
                raise self._failure(waiting[0].name, f"is not ready after {READY_TIMEOUT_S:g} s: {waiting[0].health}")
            if time.monotonic() - told > TELL_INTERVAL_S:
                told = time.monotonic()
                tell("  waiting for " + ", ".join(f"{replica.name} ({replica.health})" for replica in waiting))
            time.sleep(POLL_INTERVAL_S)

    def _fail_if_given_up(self, names: Sequence[str]) -> None:
        for state in self._manager().states():
            if state.name in names and state.state == "FATAL":
                raise self._failure(state.name, f"ended at once several times ({state.detail})")

    def _failure(self, name: str, happened: str) -> OperatorError:
        tail = "\n".join(f"  {line[:300]}" for line in last_lines(self._log_file(name), 5)) or "  (nothing)"
        return OperatorError(
            f"{name} {happened}. The last that it said:\n{tail}", f"Read {self._log_file(name)}, then: make up"
        )

    def _log_file(self, name: str) -> Path:
        return self._run / "logs" / f"{name}.log"

    # Down, restart, scale

    def down(self, tell: Tell) -> None:
        manager = self._manager()
        if manager.alive():
            tell("Draining: the demo stops first, then the producer, the consumers, and Kafka last.")
            manager.shut_down(SHUT_DOWN_TIMEOUT_S)
        stop_orphans(orphans(self._run))
        remove_socket_folder(self._state.socket)
        # Ports stay known, so that the next `up` comes back where this one was; the choices end with the run.
        self._state_file.save(self._state.model_copy(update={"running": False, "scale": {}}))

    def clean(self, tell: Tell) -> None:
        self.down(tell)
        self._state_file.forget(self.mode)
        kept = kept_for(self._state_file.load("docker"))
        for entry in self._run.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not kept:
            self._run.rmdir()

    def restart(self, service: str | None, tell: Tell) -> None:
        self._require_running()
        kafka = self.flavour.processes
        names = [
            each.name for each in self.replicas() if (each.service == service if service else each.name not in kafka)
        ]
        if not names:
            raise OperatorError(f"No process of {service} runs.", "See what does: make status")
        for name in names:
            tell(f"Restarting {name}.")
            self._manager().stop(name)
            self._manager().start(name)
        self._wait_until_ready(tell)

    def scale(self, wanted: Mapping[str, int], tell: Tell) -> None:
        self._require_running()
        writers = [self._services[name] for name, count in wanted.items() if count]
        if uses_own_database(writers, self._variables):
            raise OperatorError(
                "Local mode has no PostgreSQL of its own.",
                "Name yours: make scale postgres-writer=1 POSTGRES_URL=postgresql://user@host/database "
                "POSTGRES_PASSWORD_FILE=/path/to/the/password",
            )
        self._state = self._state.model_copy(update={"scale": {**self._state.scale, **wanted}})
        self.up(tell)

    def ask(self, replica: Replica, path: str) -> str:
        assert replica.port is not None, "our processes have one"
        try:
            _status, text = health.fetch(replica.port, path, MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise no_answer(replica, str(error)) from error
        return text

    def kill_one(self, name: str) -> None:
        manager = self._manager()
        for state in manager.states():
            if state.name == name and state.running:
                os.kill(state.pid, signal.SIGKILL)
        manager.stop(name)  # or supervisor would bring it back within a second

    def start_one(self, name: str) -> None:
        self._manager().start(name)

    def _require_running(self) -> None:
        if not self._manager().alive():
            raise OperatorError("The stack does not run.", "Start it: make up")

    # What comes out and what goes in

    def logs(self, service: str | None, follow: bool, tail_lines: int) -> Iterator[str]:
        def files() -> dict[str, Path]:
            found = sorted((self._run / "logs").glob("*.log"))
            return {file.stem: file for file in found if service is None or _belongs(file.stem, service)}

        present = files()
        if not present:
            raise OperatorError(f"There is no log of {service or 'any process'}.", "See what runs: make status")
        output = FilesOutput(files)
        width = max(len(name) for name in present)
        for name, path in present.items():
            for line in last_lines(path, tail_lines):
                yield f"{name:{width}} | {line}"
        while follow:
            for name, line in output.new_lines():
                yield f"{name:{width}} | {line}"
            time.sleep(FOLLOW_INTERVAL_S)

    def open_output(self, service: str) -> Output:
        logs = self._run / "logs"
        return FilesOutput(lambda: {path.stem: path for path in logs.glob(f"{service}-*.log")})

    def archived(self, service: str, topic: str, needle: str, since: datetime) -> Sequence[str]:
        from services.consumer.archive.find import lines_holding  # Arrow is heavy, and only this needs it

        folder = Path(self._plan().environment(self._services[service], 0)["ARCHIVE_DIR"]) / topic
        return list(lines_holding(folder, needle, since))

    def append_lines(self, lines: Iterable[str]) -> None:
        path = self._run / VERIFY_FILE
        if path.exists() and path.stat().st_size > VERIFY_LIMIT_BYTES:
            path.rename(path.with_suffix(".log.1"))
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def last_lines(self, replica: Replica, count: int) -> Sequence[str]:
        return last_lines(self._log_file(replica.name), count)

    def run_tool(self, service: str, module: str, arguments: Sequence[str]) -> int:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM") if name in os.environ}
        command = LocalPlan.python(("python", "-m", module, *arguments))
        environment = {**inherited, **self._plan().environment(self._services[service], 0)}
        return subprocess.run(command, env=environment, cwd=self._root, check=False).returncode


def kept_for(docker: StackState | None) -> frozenset[str]:
    """What the stack of the other mode needs below the run directory. Pure."""
    if docker is None:
        return frozenset()
    return KEPT_FOR_DOCKER | ({secured.FOLDER.name} if docker.secured else frozenset())


def _belongs(process: str, service: str) -> bool:
    """Whether a process is the service of that name, or a replica of it, or that very replica."""
    return process == service or process.rpartition("-")[0] == service
