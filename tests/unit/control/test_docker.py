"""What Docker Compose says, understood."""

from __future__ import annotations

import json
import subprocess

import pytest

from compose.control.docker_stack import DockerStack, parse_containers, replica_from
from compose.control.state import StackState
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
