"""What Docker Compose says, understood."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from compose.control.docker_stack import DockerStack, parse_containers, replica_from
from compose.control.flavours import FLAVOURS
from compose.control.state import StackState, StateFile
from compose.errors import OperatorError
from tests.unit.stack.test_compose_files import ROOT

CONTAINER = {
    "ID": "1",
    "Name": "p-consumer-1",
    "Service": "consumer",
    "State": "running",
    "Health": "healthy",
    "Status": "Up 2 seconds (healthy)",
    "ExitCode": 0,
    "Publishers": [{"PublishedPort": 0}, {"PublishedPort": 8088}],
}


def test_both_forms_of_the_list_are_read() -> None:
    """An array in older versions, a line each in newer ones, nothing at all where nothing runs."""
    assert parse_containers(json.dumps([CONTAINER])) == [CONTAINER]
    assert parse_containers(f"{json.dumps(CONTAINER)}\n{json.dumps(CONTAINER)}\n") == [CONTAINER, CONTAINER]
    assert parse_containers("\n") == []


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({}, "ready"),
        ({"Health": ""}, "ready"),
        ({"Health": "starting"}, "starting"),
        ({"State": "exited", "Status": "Exited (1)", "ExitCode": 1}, "Exited (1)"),
        ({"Service": "topics", "State": "exited", "ExitCode": 0}, "ready"),
        ({"Service": "topics", "State": "exited", "ExitCode": 1, "Status": "Exited (1)"}, "Exited (1)"),
    ],
)
def test_health_is_read_from_state_and_check(changes: dict[str, object], health: str) -> None:
    """A container without a check is well when it runs, a one-shot when it ended well."""
    found = replica_from({**CONTAINER, **changes}, "now")
    assert found.health == health
    assert found.running == ("State" not in changes)
    assert found.port == 8088


def test_a_tool_runs_in_a_container_like_the_producers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own, without starting anything else; its exit code is the verb's."""
    ran: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    stack = DockerStack(ROOT, {}, StackState(mode="docker"))
    assert stack.run_tool("producer", "services.producer.audit", ["--json"]) == 3
    [command] = ran
    assert command[:2] == ["docker", "compose"]
    after_profiles = command[command.index("run") :]
    assert after_profiles == [
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "producer",
        "python",
        "-m",
        "services.producer.audit",
        "--json",
    ]


def test_a_secured_stack_is_the_whole_stack_with_the_overlay_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every call; Compose is told where the secrets are, and which Kafka the first file is to include."""
    told: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_options: object) -> subprocess.CompletedProcess[str]:
        told.append((command, env))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    DockerStack(ROOT, {"SECURE": "1", "KAFKA": "kraft"}, StackState(mode="docker")).run_tool("toolbox", "m", [])
    [(command, environment)] = told
    assert command[:6] == ["docker", "compose", "--file", "compose.yaml", "--file", "compose/secure.yaml"]
    assert environment["KAFKA"] == "kraft"
    assert environment["SECURE_DIR"] == str(ROOT / ".run" / "secure")


EMPTY = ("KAFKA_TOPIC_MIN_INSYNC_REPLICAS", "KAFKA_TOPIC_REPLICATION_FACTOR", "KAFKA_BOOTSTRAP_SERVERS")


@pytest.mark.parametrize(
    ("flavour", "variables", "expected"),
    [
        ("cluster", {}, ("2", "3", "kafka:9092,kafka-2:9092,kafka-3:9092")),
        ("cluster", {"KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "1"}, ("1", "3", "kafka:9092,kafka-2:9092,kafka-3:9092")),
        # Set and empty goes before what Compose reads in .env itself.
        ("kraft", {}, (None, None, "")),
        ("external", {"KAFKA_BOOTSTRAP_SERVERS": "a:1"}, (None, None, "a:1")),
    ],
)
def test_compose_is_told_outright_which_kafka_it_is(
    monkeypatch: pytest.MonkeyPatch, flavour: str, variables: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    """Whatever is in the environment or in .env: it would be another Kafka than the one that runs, or half of one."""
    told: list[dict[str, str]] = []

    def run(command: list[str], *, env: dict[str, str], **_options: object) -> subprocess.CompletedProcess[str]:
        told.append(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("KAFKA", "bitnami")
    for name, value in zip(EMPTY, ("", "", "other:9092"), strict=True):
        monkeypatch.setenv(name, value)
    DockerStack(ROOT, variables, StackState(mode="docker"), FLAVOURS[flavour]).run_tool("toolbox", "m", [])
    [environment] = told
    assert environment["KAFKA"] == flavour
    assert tuple(environment.get(name) or (None if name in EMPTY[:2] else "") for name in EMPTY) == expected


def test_cleaning_removes_the_brokers_data_of_every_flavour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose removes what the files of one flavour name; the state of the other mode stays."""
    ran: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        listed = "archive p_archive\nkafka_cluster_1_data p_cluster_1\nzookeeper_log p_log\n"
        return subprocess.CompletedProcess(command, 0, listed if "ls" in command else "", "")

    monkeypatch.setattr(subprocess, "run", run)
    repository(tmp_path)
    local, docker = StackState(mode="local"), StackState(mode="docker")
    for state in (local, docker):
        StateFile(tmp_path / ".run").save(state)
    DockerStack(tmp_path, {}, docker).clean(print)
    assert ran[0][-3:] == ["down", "--remove-orphans", "--volumes"]
    assert ran[-1] == ["docker", "volume", "rm", "p_cluster_1", "p_log"]
    assert StateFile(tmp_path / ".run").load() == local


def repository(folder: Path) -> None:
    """The Compose files of this one, and a run directory of its own."""
    for name in ("compose", "compose.yaml"):
        (folder / name).symlink_to(ROOT / name)


class Answers:
    """The command line of Docker as far as `up` looks before it acts; what it was told to do besides is in `did`."""

    def __init__(self, mounted: str, volumes: str = "", **container: str) -> None:
        self._mounted = mounted
        self._volumes = volumes
        self._container: dict[str, object] = {**CONTAINER, "Name": "p-producer-1", "Service": "producer", **container}
        self.did: list[list[str]] = []

    def __call__(self, command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        if "ps" in command:
            said = json.dumps(self._container)
        elif command[:2] == ["docker", "volume"]:
            said = self._volumes
        elif command[:2] == ["docker", "inspect"]:
            said = self._mounted if "Mounts" in command[3] else f"/{self._container['Name']} 2026-11-22T16:00:00Z"
        else:
            self.did.append(command)
            raise OSError("this far and no further")
        return subprocess.CompletedProcess(command, 0, said + "\n", "")


def test_a_folder_that_make_was_never_told_of_is_not_replaced_by_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given to `docker compose up`; the refusal says how to keep it, and nothing is built, started or saved."""
    answers = Answers("/srv/my logs")
    monkeypatch.setattr(subprocess, "run", answers)
    repository(tmp_path)
    with pytest.raises(OperatorError, match="follows /srv/my logs") as caught:
        DockerStack(tmp_path, {}, StackState(mode="docker")).up(print)
    assert "make up NGINX_LOG_DIR='/srv/my logs'" in caught.value.next_step
    assert not answers.did
    assert not (tmp_path / ".run").exists()


def test_data_of_another_flavour_is_not_built_upon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the volumes; what is there is named, and so are both ways on."""
    answers = Answers("", "archive p_archive\nkafka_cluster_1_data p_kafka_cluster_1_data\nnginx_logs p_nginx_logs")
    monkeypatch.setattr(subprocess, "run", answers)
    repository(tmp_path)
    with pytest.raises(OperatorError, match=r"belongs to KAFKA=cluster, and KAFKA=kraft cannot read it") as caught:
        DockerStack(tmp_path, {}, StackState(mode="docker")).up(print)
    assert "make up KAFKA=cluster" in caught.value.next_step
    assert "make clean KAFKA=cluster, then make up KAFKA=kraft" in caught.value.next_step
    assert not answers.did
    assert not (tmp_path / ".run").exists()


@pytest.mark.parametrize(
    ("mounted", "variables"),
    [("", {}), ("/srv/logs", {"LOGS": ""}), ("/srv/logs", {"LOGS": "/a/b.log", "NGINX_LOG_DIR": "/a"})],
)
def test_what_was_named_is_followed_whatever_runs(
    tmp_path: Path, mounted: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own files, or the demo by an empty LOGS; and a demo that runs goes on."""
    answers = Answers(mounted)
    monkeypatch.setattr(subprocess, "run", answers)
    monkeypatch.setattr("compose.control.docker_stack.port_is_free", lambda _port: True)
    repository(tmp_path)
    with pytest.raises(OSError, match="no further"):
        DockerStack(tmp_path, variables, StackState(mode="docker")).up(print)
    [build] = answers.did
    assert "build" in build


def test_scaling_makes_containers_that_a_later_up_leaves_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the dependencies a container has another configuration hash, and `docker compose up` recreates it."""
    answers = Answers("")
    monkeypatch.setattr(subprocess, "run", answers)
    repository(tmp_path)
    with pytest.raises(OSError, match="no further"):
        DockerStack(tmp_path, {}, StackState(mode="docker")).scale({"consumer": 4}, print)
    [command] = answers.did
    assert command[command.index("up") :] == ["up", "--detach", "--no-recreate", "--scale", "consumer=4", "consumer"]


@pytest.mark.parametrize("wanted", ["consumer", "archiver"])
def test_scaling_replaces_what_is_not_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str) -> None:
    """With --no-recreate it would keep the definition that may be why it is not; other services are left alone."""
    answers = Answers("", Name="p-consumer-1", Service="consumer", Health="unhealthy")
    monkeypatch.setattr(subprocess, "run", answers)
    (tmp_path / "compose").symlink_to(ROOT / "compose")
    with pytest.raises(OSError, match="no further"):
        DockerStack(tmp_path, {}, StackState(mode="docker")).scale({wanted: 1}, print)
    [command] = answers.did
    assert (command == ["docker", "stop", "p-consumer-1"]) == (wanted == "consumer")
