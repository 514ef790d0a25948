"""Reading Compose's files as local mode needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.control.topology import interpolate, read_services, variable_names
from compose.errors import OperatorError

ROOT = Path(__file__).resolve().parents[3]
SERVICES = (ROOT / "compose" / "services.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("${A:-x}", {}, "x"),
        ("${A:?words}", {}, ""),
        ("${A:?words}", {"A": "y"}, "y"),
        ("${A:-x}", {"A": ""}, "x"),
        ("${A-x}", {"A": ""}, ""),
        ("${A:-x}", {"A": "y"}, "y"),
        ("${A}b$A", {"A": "y"}, "yby"),
        ("${A}", {}, ""),
        ("$$A", {"A": "y"}, "$A"),
        ("/var/log/*access*.log", {}, "/var/log/*access*.log"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, variables: dict[str, str], expected: str) -> None:
    """Defaults hold for unset variables, with a colon for empty ones as well; two dollars are one."""
    assert interpolate(text, variables) == expected


def test_the_services_of_the_stack_are_read() -> None:
    """Names, commands, replicas and groups come out of the file that Docker uses."""
    services = read_services(SERVICES, {})
    assert services["consumer"].command == ("python", "-m", "services.consumer")
    assert services["consumer"].replicas == 2
    assert {each.group_id for each in services.values() if each.group_id and not each.profiles} == {
        "consumer",
        "archiver",
    }
    assert services["archiver"].sink == "archive"
    assert services["producer"].group_id is None
    assert services["fanout-group-1"].profiles == {"fanout"}


def test_every_group_of_the_stack_is_named_as_its_service() -> None:
    """A constant group id would turn fanout into load balancing."""
    for service in read_services(SERVICES, {}).values():
        assert service.group_id in (None, service.name)


def test_variables_change_the_stack() -> None:
    """What the operator sets arrives in environment, replicas and mounts."""
    services = read_services(SERVICES, {"CONSUMER_REPLICAS": "5", "NGINX_LOG_DIR": "/srv/logs", "START_AT": "end"})
    assert services["consumer"].replicas == 5
    assert services["producer"].mounts["/var/log/nginx"] == "/srv/logs"
    assert services["producer"].environment["START_AT"] == "end"


def test_a_replica_count_that_is_no_number_is_refused() -> None:
    """The message names the value."""
    with pytest.raises(OperatorError, match="'many'"):
        read_services(SERVICES, {"CONSUMER_REPLICAS": "many"})


def test_variable_names_are_found() -> None:
    """Only references count, not escaped dollars."""
    assert variable_names("${A:-x} $B $$C ${D}") == {"A", "B", "D"}
