"""What Docker Compose says, understood."""

from __future__ import annotations

import json

import pytest

from compose.control.docker_stack import parse_containers, replica_from

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
