"""Drives Docker Compose for the tests and looks at what came up, through the engine and an independent Kafka client."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from tests.java import QUICK_BROKERS

ROOT = Path(__file__).parents[2]
TOPIC = "nginx_logs"
PARTITIONS = 8
COMMAND_TIMEOUT_S = 300.0
START_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 90.0
POLL_S = 0.25


def engine_problem() -> str | None:
    """Why no engine can be used here, or None."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return "docker version gave no answer within 20 s"
    return None if asked.returncode == 0 else asked.stderr.strip().splitlines()[-1]


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Poll until `condition` holds; fails with `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Container:
    """One container as the engine knows it."""

    id: str
    service: str
    details: Mapping[str, Any]

    @property
    def running(self) -> bool:
        return bool(self.details["State"]["Running"])

    @property
    def health(self) -> str:
        health: str = self.details["State"].get("Health", {}).get("Status", "none")
        return health

    @property
    def exit_code(self) -> int:
        return int(self.details["State"]["ExitCode"])

    @property
    def host_name(self) -> str:
        return str(self.details["Config"]["Hostname"])


class Stack:
    """One project of Compose: its own name, its own ports, nothing taken from the caller's environment."""

    def __init__(self, image: str, variables: Mapping[str, str] | None = None) -> None:
        self.project = f"pipeline-test-{uuid.uuid4().hex[:8]}"
        self.kafka_port, self.nginx_port = free_ports(2)
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ},
            **QUICK_BROKERS,
            "PIPELINE_IMAGE": image,
            "KAFKA_HOST_PORT": str(self.kafka_port),
            "NGINX_HOST_PORT": str(self.nginx_port),
            **(variables or {}),
        }

    @staticmethod
    @contextmanager
    def build() -> Iterator[str]:
        """Build the image under a tag of its own, removed at the end."""
        tag = f"pipeline-test-{uuid.uuid4().hex[:8]}:built"
        Stack(tag).compose("build", "topics")
        try:
            yield tag
        finally:
            run(["docker", "image", "rm", "--force", tag], {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def compose(self, *arguments: str, sent: str | None = None, variables: Mapping[str, str] | None = None) -> str:
        """Run `docker compose` on this project and return what it printed. Fails with its words."""
        # No .env of the working tree: what it says is meant for the developer's own stack.
        base = ["docker", "compose", "--project-name", self.project, "--env-file", os.devnull]
        return run([*base, *arguments], {**self._environment, **(variables or {})}, sent)

    def containers(self, service: str | None = None) -> list[Container]:
        """All containers of the project, stopped ones too."""
        filters = [f"label=com.docker.compose.project={self.project}"]
        if service is not None:
            filters.append(f"label=com.docker.compose.service={service}")
        options = [part for entry in filters for part in ("--filter", entry)]
        ids = run(["docker", "ps", "--all", "--quiet", "--no-trunc", *options], self._environment).split()
        if not ids:
            return []
        inspected = json.loads(run(["docker", "inspect", *ids], self._environment))
        return [Container(one["Id"], one["Config"]["Labels"]["com.docker.compose.service"], one) for one in inspected]

    def wait_until_healthy(self, expected: Mapping[str, int], timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for that many healthy containers of each service."""

        def all_healthy() -> bool:
            found = Counter(one.service for one in self.containers() if one.running and one.health == "healthy")
            return all(found[service] == count for service, count in expected.items())

        wait_until(f"healthy: {dict(expected)}", all_healthy, timeout_s)

    def write_lines(self, marker: str, count: int) -> None:
        """Append lines that can be told from all others to a file that the producer follows."""
        now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        lines = "".join(
            f'198.51.100.{number % 250} - - [{now}] "GET /{marker}/{number} HTTP/1.1" 200 2 "-" "marker"\n'
            for number in range(count)
        )
        append = "cat >> /var/log/verify/marked-access.log"
        self.compose("run", "--rm", "--no-TTY", "--no-deps", "toolbox", "sh", "-c", append, sent=lines)

    def logs(self, *options: str) -> str:
        """What the containers printed; without the control sequence that Compose puts before each line."""
        return self.compose("logs", "--no-color", *options).replace("\x1b[2K", "")

    def printed(self, service: str, marker: str) -> Counter[int]:
        """How often the consumers of `service` printed each marked line."""
        found: Counter[int] = Counter()
        for line in self.logs("--no-log-prefix", service).splitlines():
            if f'"/{marker}/' in line:
                found[number_in(json.loads(line)["record"], marker)] += 1
        return found

    def archived(self, marker: str) -> Counter[int]:
        """How often each marked line is in the archiver's files."""
        found: Counter[int] = Counter()
        find = (
            "python",
            "-m",
            "services.consumer.archive.find",
            f"/var/lib/archive/{TOPIC}",
            f"/{marker}/",
            "0001-01-01T00:00:00Z",
        )
        for line in self.compose("exec", "--no-TTY", "archiver", *find).splitlines():
            found[number_in(json.loads(line), marker)] += 1
        return found

    def wait_until_received(self, marker: str, count: int, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Wait until both default groups have every marked line at least once."""
        wanted = set(range(count))

        def missing() -> str:
            printed, archived = self.printed("consumer", marker), self.archived(marker)
            return f"consumer {len(wanted - printed.keys())}, archiver {len(wanted - archived.keys())}"

        wait_until(
            f"{count} lines of {marker} in both groups", lambda: missing() == "consumer 0, archiver 0", timeout_s
        )

    def assignment(self, group: str) -> dict[str, list[int]]:
        """The partitions of each member of `group`, by the member's client id; empty while the group rebalances."""
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.kafka_port}", "log_level": 0})
        described = admin.describe_consumer_groups([group], request_timeout=10)[group].result(timeout=15)
        if described.state is not ConsumerGroupState.STABLE:
            return {}
        return {
            member.client_id: sorted(one.partition for one in member.assignment.topic_partitions if one.topic == TOPIC)
            for member in described.members
        }

    def wait_until_balanced(self, group: str, shape: Sequence[int], timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Wait until the members own `shape` partitions each (largest first), every partition exactly once."""

        def balanced() -> bool:
            owned = self.assignment(group)
            sizes = sorted((len(partitions) for partitions in owned.values()), reverse=True)
            each_once = sorted(chain.from_iterable(owned.values())) == list(range(PARTITIONS))
            return sizes == list(shape) and each_once

        wait_until(f"{group} shares {PARTITIONS} partitions as {list(shape)}", balanced, timeout_s)

    def describe(self) -> str:
        """States and last words, for the report of a failure."""
        states = "\n".join(
            f"{one.service}: {one.details['State']['Status']} {one.health} exit {one.exit_code}"
            for one in self.containers()
        )
        return f"{states}\n{self.logs('--tail', '30')}"


def number_in(record: Mapping[str, Any], marker: str) -> int:
    return int(record["path"].removeprefix(f"/{marker}/"))


def run(command: Sequence[str], environment: Mapping[str, str], sent: str | None = None) -> str:
    """Run a command to its end and return its standard output. Fails with both outputs."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        input=sent,
        stdin=None if sent is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(command)} gave {done.returncode}:\n{done.stdout[-4_000:]}{done.stderr[-4_000:]}"
        )
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; all held until all are found, so that no two are equal."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
