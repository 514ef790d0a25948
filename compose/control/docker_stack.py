"""The stack as containers: everything goes through the `docker compose` command line, each call with a deadline."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from compose.control import health, secured
from compose.control.choices import LOG_FOLDER, check_logs, demo_wanted, uses_own_database
from compose.control.crash_loop import HAPPENED, Starts
from compose.control.flavours import (
    EXTERNAL,
    FLAVOURS,
    KRAFT,
    SERVERS_VARIABLE,
    VARIABLE,
    Flavour,
    check_data,
    check_mode,
    checked_ports,
    chosen,
    host_port,
    known_of,
    volumes_of,
)
from compose.control.kafka_view import ask_cluster
from compose.control.secured import Secrets
from compose.control.stack import VERIFY_LIMIT_BYTES, Output, Replica, Tell, no_answer
from compose.control.state import Mode, StackState, StateFile
from compose.control.topology import Service, overlaid, read_services
from compose.errors import OperatorError
from compose.local.ports import free_port, port_is_free
from compose.security.folder import CONTAINER_FOLDER

ASK_TIMEOUT_S = 30.0
BUILD_TIMEOUT_S = 1800.0
UP_TIMEOUT_S = 600.0
DOWN_TIMEOUT_S = 240.0
READY_TIMEOUT_S = 180.0
POLL_INTERVAL_S = 1.0
TELL_INTERVAL_S = 5.0
COMPOSE_FILES = ("services.yaml", "demo.yaml", "postgres.yaml")
NGINX, DATABASE, TOPICS = "nginx", "postgres", "topics"
ONE_SHOTS = (TOPICS,)
# Of the broker of a secured stack.
LISTENERS = ("INTERNAL", "HOST", "BROKER", "CONTROLLER")
# Compose begins a line of its logs with this even where no terminal is.
CLEAR_LINE = "\x1b[2K"
BUILT_THROUGH = "producer"
# The folder of this machine that a producer has as its logs; nothing where that is a volume, as the demo's.
MOUNTED_LOGS = (
    '{{range .Mounts}}{{if and (eq .Type "bind") (eq .Destination "' + LOG_FOLDER + '")}}{{.Source}}{{end}}{{end}}'
)
VERIFY_FILE = "/var/log/verify/verify_access.log"

KAFKA_PORT = 29092
PROJECT_LABEL, VOLUME_LABEL = "com.docker.compose.project", "com.docker.compose.volume"


def engine_answers() -> bool:
    """Whether Docker Compose is installed and its engine answers."""
    try:
        for question in (["docker", "compose", "version"], ["docker", "info"]):
            subprocess.run(question, capture_output=True, timeout=ASK_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def parse_containers(text: str) -> list[dict[str, Any]]:
    """The output of `docker compose ps --format json`: an array, or since 2.21 one object a line. Pure."""
    text = text.strip()
    if not text:
        return []
    return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def replica_from(container: Mapping[str, Any], started_at: str | None) -> Replica:
    """One container as a replica. Pure."""
    running = container["State"] == "running"
    ports = [entry["PublishedPort"] for entry in container.get("Publishers") or () if entry.get("PublishedPort")]
    if container["Service"] in ONE_SHOTS and not running and container.get("ExitCode") == 0:
        told = health.READY
    elif running:
        told = {"healthy": health.READY, "": health.READY}.get(container.get("Health", ""), container["Health"])
    else:
        told = container.get("Status", "")
    return Replica(
        container["Name"],
        container["Service"],
        container["State"],
        told,
        ports[0] if ports else None,
        started_at if running else None,
    )


class DockerStack:
    """See compose.control.stack.Stack."""

    mode: Mode = "docker"

    def __init__(
        self, root: Path, variables: Mapping[str, str], state: StackState, flavour: Flavour = FLAVOURS[KRAFT]
    ) -> None:
        self._root = root
        self.flavour = flavour
        self._variables = dict(variables)
        if not demo_wanted(variables):
            self._variables["DEMO_REPLICAS"] = "0"
        self._state_file = StateFile(root / ".run")
        self._state = state
        known = {**known_of(root, flavour), **self._variables}
        plain = {
            name: service
            for file in (f"brokers/{flavour.name}.yaml", *COMPOSE_FILES)
            for name, service in read_services((root / "compose" / file).read_text(), known).items()
        }
        self._overlay = secured.overlay_services(root, {**self._variables, "SECURE_DIR": str(root / secured.FOLDER)})
        self._services = overlaid(plain, self._overlay)
        if self._overlay:
            # Both are given to Compose: to say them otherwise would leave the containers without their secrets.
            self._variables |= {"SECURE_DIR": str(root / secured.FOLDER), "SECURE_GID": str(secured.containers_gid())}

    @property
    def bootstrap_servers(self) -> str:
        if servers := self._variables.get(SERVERS_VARIABLE):
            return servers
        ports = self._ports()
        return ",".join(f"127.0.0.1:{ports[broker]}" for broker in self.flavour.brokers)

    def _ports(self) -> dict[str, int]:
        """The ports of this machine, by service. Raises OperatorError for what cannot be had."""
        named = {service: variable for service, variable, _default in self._host_ports()}
        wanted = {
            variable: self._variables.get(variable) or default for _service, variable, default in self._host_ports()
        }
        ports = checked_ports(wanted)
        return {service: ports[variable] for service, variable in named.items()}

    @property
    def secrets(self) -> Secrets | None:
        if not self._overlay:
            return None
        folder = secured.secret_folder(self._root, secured.containers_gid())
        return Secrets(folder, CONTAINER_FOLDER, LISTENERS)

    def login(self) -> Mapping[str, str]:
        return secured.login(self._services[TOPICS], self._root)

    def services(self) -> Mapping[str, Service]:
        return self._services

    def variables(self) -> Mapping[str, str]:
        return self._variables

    # The command line

    def _command(self, *arguments: str, every_profile: bool = True) -> list[str]:
        """`docker compose` from the root; services of a profile are seen only by calls that ask for it."""
        profiles = sorted({profile for service in self._services.values() for profile in service.profiles})
        named = [word for profile in profiles for word in ("--profile", profile)] if every_profile else []
        files = ["--file", "compose.yaml", "--file", str(secured.OVERLAY)] if self._overlay else []
        return ["docker", "compose", *files, *named, *arguments]

    def _environment(self) -> dict[str, str]:
        """Of every call. All that says which Kafka it is stands here outright: what is in the environment, and in .env,
        which Compose reads too, chooses no other one than the one that runs. Nor does an empty value stand before what
        the flavour brings.
        """
        of_kafka = {VARIABLE: self.flavour.name, SERVERS_VARIABLE: "", **known_of(self._root, self.flavour)}
        return {**os.environ, **of_kafka, **self._variables}

    def _run(
        self, command: Sequence[str], timeout_s: float, *, given: str | None = None, shown: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run it; `shown` leaves its progress on the terminal. The caller looks at the exit code."""
        try:
            return subprocess.run(
                command,
                cwd=self._root,
                env=self._environment(),
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                stdout=None if shown else subprocess.PIPE,
                stderr=None if shown else subprocess.PIPE,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise OperatorError("There is no docker command.", "Install Docker, or use: make up MODE=local") from error
        except subprocess.TimeoutExpired as error:
            raise OperatorError(
                f"`{' '.join(command[:6])} …` took longer than {timeout_s:g} s.", "Look with: docker compose ps -a"
            ) from error

    def _must(self, command: Sequence[str], timeout_s: float, *, given: str | None = None, shown: bool = False) -> str:
        """Run it; raises OperatorError with what it said when it fails."""
        result = self._run(command, timeout_s, given=given, shown=shown)
        if result.returncode != 0:
            said = (result.stderr or "").strip() or "see above"
            raise OperatorError(
                f"`{' '.join(command)}` failed: {said}", "Look with: docker compose ps -a, and: make logs"
            )
        return result.stdout or ""

    # Up

    def up(self, tell: Tell) -> bool:
        check_mode(self.flavour, self.mode, self._variables)
        self._ports()
        held = self._held()
        check_data(self.flavour, held, self._state.kafka)
        secured.check_unchanged(held, self._state, self.secrets)
        replicas = self.replicas()
        before = _running(replicas)
        self._check_followed_folder(replicas)
        self._check_ports({replica.service for replica in replicas if replica.running})
        cluster_id = self._ask_cluster(tell)
        if self.secrets is not None:
            secured.prepare(self.secrets.folder, self._overlay)
        for line in self._log_notes():
            tell(f"Note: {line}")
        self._state = chosen(self._state, self.flavour, self._variables, cluster_id, is_secured=bool(self._overlay))
        self._state_file.save(self._state)
        tell("Building the image (a minute the first time, a moment when nothing changed).")
        # Through one service: Compose labels an image with the service it was built for, and each of them in turn
        # would give the one image another identity, so that every `up` recreated every container.
        quiet = () if sys.stdout.isatty() else ("--quiet",)
        self._must(self._command("build", *quiet, BUILT_THROUGH, every_profile=False), BUILD_TIMEOUT_S, shown=True)
        plain = {name: count for name, count in self._state.scale.items() if not self._services[name].profiles}
        scaled = [word for name, count in plain.items() for word in ("--scale", f"{name}={count}")]
        self._must(
            self._command("up", "--detach", "--remove-orphans", *scaled, every_profile=False), UP_TIMEOUT_S, shown=True
        )
        self._wait_until_ready(tell)
        return before != _running(self.replicas())

    def _ask_cluster(self, tell: Tell) -> str:
        """What a cluster of yours says that it is: before minutes of building, which it may be away for."""
        if self.flavour.brokers:
            return ""
        return ask_cluster(self.bootstrap_servers, self._state.cluster_id, self.login(), tell)

    def _check_followed_folder(self, replicas: Sequence[Replica]) -> None:
        """A folder that was given to `docker compose up` alone is not replaced by the demo in passing."""
        if self._variables.keys() & {"LOGS", "NGINX_LOG_DIR"}:  # named, or taken back by an empty value
            return
        running = [replica.name for replica in replicas if replica.service == BUILT_THROUGH and replica.running]
        mounted = (
            self._run(["docker", "inspect", "--format", MOUNTED_LOGS, *running], ASK_TIMEOUT_S) if running else None
        )
        folder = mounted.stdout.strip() if mounted else ""
        if folder:
            raise OperatorError(
                f"The producer that runs follows {folder}, which was given to `docker compose up` and not to make. "
                "The demo would take its place. Nothing was changed.",
                f"To keep it: make up NGINX_LOG_DIR={shlex.quote(folder)} (and what else was given). "
                "For the demo: make up LOGS=",
            )

    def _held(self) -> set[str]:
        """The flavours whose data is here: in volumes of this project, or in a cluster of yours that was used last."""
        present = self._volumes().keys()
        own = {EXTERNAL} & {self._state.kafka}
        return own | {each.name for each in FLAVOURS.values() if volumes_of(self._root, each) & present}

    def _volumes(self) -> dict[str, str]:
        """The volumes of this project: their names in the Compose files, and those of the engine."""
        project = self._variables.get("COMPOSE_PROJECT_NAME") or _project_name(self._root)
        listed = ["docker", "volume", "ls", "--filter", f"label={PROJECT_LABEL}={project}"]
        form = '{{.Label "' + VOLUME_LABEL + '"}} {{.Name}}'
        pairs = (line.split() for line in self._must([*listed, "--format", form], ASK_TIMEOUT_S).splitlines())
        return {pair[0]: pair[-1] for pair in pairs if pair}

    def _host_ports(self) -> Iterator[tuple[str, str, str]]:
        """The service, the variable that moves it, its default."""
        for broker in self.flavour.brokers:
            yield (broker, *host_port(broker, KAFKA_PORT))
        if demo_wanted(self._variables):
            yield NGINX, "NGINX_HOST_PORT", "8088"

    def _check_ports(self, running: set[str]) -> None:
        ports = self._ports()
        for service, variable, _default in self._host_ports():
            port = ports[service]
            if service not in running and not port_is_free(port):
                raise OperatorError(
                    f"Port {port}, which {service} would be reached at, is taken by another program.",
                    f"Stop it, or choose another: make up {variable}={free_port()}",
                )

    def _log_notes(self) -> Iterator[str]:
        folder = self._variables.get("NGINX_LOG_DIR")
        if folder:
            patterns = self._services["producer"].environment["LOG_FILES"].split(",")
            own = [pattern for pattern in patterns if pattern.startswith("/var/log/nginx/")]
            yield from check_logs([pattern.replace("/var/log/nginx", folder.rstrip("/"), 1) for pattern in own])

    def _wait_until_ready(self, tell: Tell) -> None:
        deadline, told, starts = time.monotonic() + READY_TIMEOUT_S, time.monotonic(), Starts()
        while waiting := [replica for replica in self.replicas() if replica.health != health.READY]:
            if looping := starts.looping(waiting):
                raise self._failure(looping, HAPPENED)
            if time.monotonic() > deadline:
                state = f"({waiting[0].state}, {waiting[0].health})"
                raise self._failure(waiting[0], f"is not ready after {READY_TIMEOUT_S:g} s {state}")
            if time.monotonic() - told > TELL_INTERVAL_S:
                told = time.monotonic()
                tell("  waiting for " + ", ".join(f"{replica.name} ({replica.health})" for replica in waiting))
            time.sleep(POLL_INTERVAL_S)

    def _failure(self, replica: Replica, happened: str) -> OperatorError:
        said = "\n".join(f"  {line[:300]}" for line in self.last_lines(replica, 5)) or "  (nothing)"
        return OperatorError(
            f"{replica.name} {happened}. The last that it said:\n{said}",
            f"make logs SERVICE={replica.service}, then: make up",
        )

    def replicas(self) -> Sequence[Replica]:
        listed = parse_containers(self._must(self._command("ps", "--all", "--format", "json"), ASK_TIMEOUT_S))
        # Containers of `run`, such as those that `verify` writes through, are no part of the stack.
        listed = [one for one in listed if "-run-" not in one["Name"]]
        if not listed:
            return []
        form = "{{.Name}} {{.State.StartedAt}}"
        # One that went away between the two questions makes inspect fail for itself, not for the others.
        inspected = self._run(["docker", "inspect", "--format", form, *(one["ID"] for one in listed)], ASK_TIMEOUT_S)
        started = dict(line.lstrip("/").split(" ", 1) for line in inspected.stdout.splitlines() if " " in line)
        found = [replica_from(one, started.get(one["Name"])) for one in listed]
        return sorted(found, key=lambda replica: replica.name)

    # Down, restart, scale

    def down(self, tell: Tell) -> None:
        tell("Draining: consumers, producer and demo first, Kafka last.")
        self._must(self._command("down", "--remove-orphans"), DOWN_TIMEOUT_S, shown=True)
        self._state_file.save(self._state.model_copy(update={"running": False, "scale": {}}))

    def clean(self, tell: Tell) -> None:
        tell("Removing containers and volumes.")
        self._must(self._command("down", "--remove-orphans", "--volumes"), DOWN_TIMEOUT_S, shown=True)
        # Compose knows the volumes of this flavour alone; those of another were made with `docker compose`.
        brokers = frozenset[str]().union(*(volumes_of(self._root, each) for each in FLAVOURS.values()))
        left = [volume for name, volume in self._volumes().items() if name in brokers]
        if left:
            self._must(["docker", "volume", "rm", *left], ASK_TIMEOUT_S)
        other = self._state_file.load("local")
        if self.secrets is not None and not (other and other.secured):
            shutil.rmtree(self.secrets.folder.path, ignore_errors=True)
        self._state_file.forget(self.mode)

    def restart(self, service: str | None, tell: Tell) -> None:
        running = {replica.service for replica in self.replicas() if replica.running}
        names = [service] if service else sorted(running - set(self.flavour.processes))
        if not running.issuperset(names) or not names:
            raise OperatorError(f"No container of {service or 'the stack'} runs.", "See what does: make status")
        tell(f"Restarting {', '.join(names)}.")
        self._must(self._command("restart", *names), DOWN_TIMEOUT_S, shown=True)
        self._wait_until_ready(tell)

    def scale(self, wanted: Mapping[str, int], tell: Tell) -> None:
        replicas = self.replicas()
        if not any(replica.running for replica in replicas):
            raise OperatorError("The stack does not run.", "Start it: make up")
        self._state = self._state.model_copy(update={"scale": {**self._state.scale, **wanted}})
        self._state_file.save(self._state)
        scaled = [word for name, count in wanted.items() for word in ("--scale", f"{name}={count}")]
        writers = [self._services[name] for name, count in wanted.items() if count]
        beside = [DATABASE] if uses_own_database(writers, self._variables) else []
        self._remove_unwell([replica for replica in replicas if replica.service in wanted], tell)
        # Not --no-deps: Compose would label the new containers with another definition than `up` does, which then
        # recreated them.
        self._must(
            self._command("up", "--detach", "--no-recreate", *scaled, *beside, *wanted), UP_TIMEOUT_S, shown=True
        )
        self._wait_until_ready(tell)

    def _remove_unwell(self, replicas: Sequence[Replica], tell: Tell) -> None:
        """Of the services that are scaled: --no-recreate would leave them their old definition, which may be why."""
        unwell = [replica.name for replica in replicas if replica.health != health.READY]
        if unwell:
            tell(f"Replacing {', '.join(unwell)}, which {'is' if len(unwell) == 1 else 'are'} not ready.")
            self._must(["docker", "stop", *unwell], DOWN_TIMEOUT_S)
            self._must(["docker", "rm", *unwell], ASK_TIMEOUT_S)

    def ask(self, replica: Replica, path: str) -> str:
        port = self._services[replica.service].environment["HTTP_PORT"]
        probe = ["python", "-m", "shared.runtime.probe", f"http://127.0.0.1:{port}{path}"]
        result = self._run(["docker", "exec", replica.name, *probe], ASK_TIMEOUT_S)
        if result.returncode != 0:
            raise no_answer(replica, (result.stderr or result.stdout).strip())
        return result.stdout

    def kill_one(self, name: str) -> None:
        self._must(["docker", "kill", "--signal", "KILL", name], ASK_TIMEOUT_S)

    def start_one(self, name: str) -> None:
        self._must(["docker", "start", name], ASK_TIMEOUT_S)

    # What comes out and what goes in

    def logs(self, service: str | None, follow: bool, tail_lines: int) -> Iterator[str]:
        options = ["--tail", str(tail_lines), *(["--follow"] if follow else []), *([service] if service else [])]
        with subprocess.Popen(
            self._command("logs", "--no-color", *options),
            cwd=self._root,
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    yield line.rstrip("\n").removeprefix(CLEAR_LINE)
            finally:
                process.terminate()

    def open_output(self, service: str) -> Output:
        return _ContainerOutput(self, service, datetime.now(UTC).isoformat())

    def printed_since(self, service: str, since: str) -> Sequence[str]:
        """What the containers of a service printed since a moment (ISO 8601)."""
        command = self._command("logs", "--no-color", "--no-log-prefix", "--since", since, service)
        return [line.removeprefix(CLEAR_LINE) for line in self._must(command, ASK_TIMEOUT_S).splitlines()]

    def archived(self, service: str, topic: str, needle: str, since: datetime) -> Sequence[str]:
        folder = f"{self._services[service].environment['ARCHIVE_DIR']}/{topic}"
        find = ("python", "-m", "services.consumer.archive.find", folder, needle, since.isoformat())
        return self._must(self._command("exec", "-T", service, *find), ASK_TIMEOUT_S).splitlines()

    def append_lines(self, lines: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        script = (
            f"size=$(stat -c %s {VERIFY_FILE} 2>/dev/null || echo 0); "
            f'[ "$size" -le {VERIFY_LIMIT_BYTES} ] || mv {VERIFY_FILE} {VERIFY_FILE}.1; cat >> {VERIFY_FILE}'
        )
        command = self._command("run", "--rm", "-T", "--no-deps", "toolbox", "sh", "-c", script)
        self._must(command, UP_TIMEOUT_S, given=text)

    def last_lines(self, replica: Replica, count: int) -> Sequence[str]:
        said = self._run(["docker", "logs", "--tail", str(count), replica.name], ASK_TIMEOUT_S)
        return [*said.stdout.splitlines(), *said.stderr.splitlines()]

    def run_tool(self, service: str, module: str, arguments: Sequence[str]) -> int:
        # A container of its own: a tool's memory is not the service's, and the service need not run.
        terminal = () if sys.stdin.isatty() and sys.stdout.isatty() else ("-T",)
        command = self._command("run", "--rm", *terminal, "--no-deps", service, "python", "-m", module, *arguments)
        return subprocess.run(command, cwd=self._root, env=self._environment(), check=False).returncode


def _project_name(root: Path) -> str:
    name: str = yaml.safe_load((root / "compose.yaml").read_text())["name"]
    return name


def _running(replicas: Sequence[Replica]) -> set[tuple[str, str | None]]:
    """The containers that run, and since when. One-shots, which run again at every `up`, are no part of it."""
    return {(replica.name, replica.started_at) for replica in replicas if replica.running}


class _ContainerOutput:
    """What the containers of one service print from a moment on; the engine keeps it, this asks."""

    def __init__(self, stack: DockerStack, service: str, since: str) -> None:
        self._stack = stack
        self._service = service
        self._since = since

    def matching(self, needle: str) -> Sequence[str]:
        return [line for line in self._stack.printed_since(self._service, self._since) if needle in line]
