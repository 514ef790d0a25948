"""Which processes local mode runs, with which commands, settings, folders and ports.

Decides, and writes one file: the demo site's configuration, whose path is part of a command.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.control.choices import LOG_FOLDER, demo_wanted
from compose.control.topology import Service
from compose.local import site
from compose.local.nodes import ZOOKEEPER, Node
from compose.local.processes import (
    NGINX,
    PRIORITIES,
    STOP_MARGIN_S,
    VISITOR,
    Process,
    local_environment,
    process_names,
    service_priority,
    stop_wait_s,
)

DEFAULT_DEMO_RATE = "20"
DEFAULT_DEMO_LOG_LIMIT_BYTES = str(64 * 1024 * 1024)
TOPICS = "topics"
HANDLER_FOLDER = "/handlers"


@dataclass(frozen=True)
class LocalPlan:
    """The stack as it should be now; `run` is the folder under which everything is kept."""

    root: Path
    run: Path
    services: Mapping[str, Service]
    variables: Mapping[str, str]
    scale: Mapping[str, int]
    ports: Mapping[str, int]
    bootstrap_servers: str

    def _count(self, service: Service) -> int:
        """Replicas wanted: what was scaled, else what the file says; services of a profile run only when scaled."""
        if service.name == TOPICS:
            return 0
        return self.scale.get(service.name, 0 if service.profiles else service.replicas)

    def replica_names(self) -> Sequence[str]:
        """Every process that needs a port for its health, without the demo's."""
        return [name for each in self.services.values() for name in process_names(each, self._count(each))]

    def mounts(self) -> Mapping[str, str]:
        """Every container folder that is mounted somewhere, and its source."""
        return {target: source for service in self.services.values() for target, source in service.mounts.items()}

    def folders(self) -> dict[str, Path]:
        """Container folder to local folder: volumes lie under .run/, folders of the host are themselves."""
        return {
            target: Path(source) if "/" in source else self.run / target.lstrip("/")
            for target, source in self.mounts().items()
        }

    def environment(self, service: Service, port: int) -> dict[str, str]:
        """What a replica of the service runs with."""
        own = {target: self.root / source for target, source in service.mounts.items() if "/" in source}
        environment = local_environment(service, {**self.folders(), **own}, self.bootstrap_servers, port)
        handlers = service.mounts.get(HANDLER_FOLDER, "")
        if "/" in handlers:  # a folder of the host, not a volume
            # In the image it is the working folder, which Python imports from.
            environment["PYTHONPATH"] = str(Path(handlers).resolve())
        if "POSTGRES_PASSWORD_FILE" in environment:  # a secret of the container; here it is the file itself, or none
            password_file = self.variables.get("POSTGRES_PASSWORD_FILE", "")
            environment["POSTGRES_PASSWORD_FILE"] = str(Path(password_file).resolve()) if password_file else ""
        return environment

    def processes(self, nodes: Sequence[Node]) -> Sequence[Process]:
        """All of them: Kafka's, the replicas, the demo where it is wanted."""
        demo = self._demo_processes() if demo_wanted(self.variables) else ()
        return [*map(self._kafka_process, nodes), *self._service_processes(), *demo]

    @staticmethod
    def _kafka_process(node: Node) -> Process:
        # The digest makes a change of the settings file a change of the program, which is then restarted.
        environment = {"SETTINGS_SHA256": _digest(node.settings)}
        priority = PRIORITIES[ZOOKEEPER if node.name == ZOOKEEPER else "kafka"]
        return Process(node.name, node.name, node.command, environment, priority, node.stop_wait_s)

    def _service_processes(self) -> Iterator[Process]:
        for service in self.services.values():
            for name in process_names(service, self._count(service)):
                environment = self.environment(service, self.ports[name])
                command, priority = self.python(service.command), service_priority(service)
                yield Process(name, service.name, command, environment, priority, stop_wait_s(environment))

    @staticmethod
    def python(command: Sequence[str]) -> tuple[str, ...]:
        """A container's `python` is the interpreter that runs this."""
        return (sys.executable, *command[1:])

    def _demo_processes(self) -> Iterator[Process]:
        """The system's nginx with a visitor, or the visitor's lines written straight to the log."""
        log_directory = self.folders()[LOG_FOLDER]
        rate = self.variables.get("DEMO_RATE") or DEFAULT_DEMO_RATE
        nginx = site.find_nginx()
        if nginx:
            port = self.ports[NGINX]
            text = (self.root / "compose" / "nginx" / "nginx.conf").read_text()
            text = site.local_configuration(text, self.run / "nginx", log_directory, port)
            (self.run / "nginx" / "nginx.conf").write_text(text)
            limit_bytes = self.variables.get("DEMO_LOG_LIMIT_BYTES") or DEFAULT_DEMO_LOG_LIMIT_BYTES
            command = site.command(nginx, self.run / "nginx", log_directory / "access.log", limit_bytes)
            yield Process(NGINX, NGINX, command, {"SETTINGS_SHA256": _digest(text)}, PRIORITIES[NGINX], STOP_MARGIN_S)
            arguments = ("visit", "--url", f"http://127.0.0.1:{port}")
        else:
            arguments = ("write", "--file", str(log_directory / "access.log"))
        environment = {
            **{name: self.variables[name] for name in ("LOG_LEVEL",) if name in self.variables},
            "SERVICE_NAME": VISITOR,
            "HTTP_PORT": str(self.ports[VISITOR + "-1"]),
        }
        command = (sys.executable, "-m", "services.demo", *arguments, "--rate", rate)
        wait_s = stop_wait_s(environment)
        yield Process(VISITOR + "-1", VISITOR, command, environment, PRIORITIES[VISITOR], wait_s)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
