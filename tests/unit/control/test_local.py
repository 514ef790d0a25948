"""Local mode's pure parts: the same topology as processes."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from compose.control.topology import Service
from compose.errors import OperatorError
from compose.local.broker import Ports, server_properties
from compose.local.jars import LOCK_FILE, ZOOKEEPER_LOCK_FILE, read_lock
from compose.local.processes import (
    PRIORITIES,
    Process,
    local_environment,
    local_value,
    process_names,
    stop_wait_s,
    supervisor_configuration,
)
from compose.local.site import local_configuration

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = {"/var/log/nginx": Path("/srv/logs"), "/var/lib/archive": Path("/run/archive")}


def process(**changes: object) -> Process:
    fields = {
        "name": "consumer-1",
        "service": "consumer",
        "command": ("python", "-m", "x"),
        "environment": {"A": "1"},
        "priority": 100,
        "stop_wait_s": 30,
    }
    return Process(**{**fields, **changes})  # type: ignore[arg-type]


def configuration(one: Process) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(supervisor_configuration(Path("/r"), Path("/p"), Path("/s/x.sock"), [one]))
    return parser


def test_container_folders_become_local_ones_in_every_item() -> None:
    """Only whole folders match, and what is none stays."""
    assert (
        local_value("/var/log/nginx/*a.log,/var/log/nginx2/b.log", FOLDERS) == "/srv/logs/*a.log,/var/log/nginx2/b.log"
    )
    assert local_value("/var/lib/archive", FOLDERS) == "/run/archive"
    assert local_value("nginx_logs", FOLDERS) == "nginx_logs"
    assert local_value("/etc/nginx/nope", {"/etc/nginx": Path("/")}) == "/nope"


def test_a_local_process_gets_its_own_port_and_the_local_broker() -> None:
    """Everything else is as Compose would set it."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
        "HTTP_HOST": "0.0.0.0",
        "HTTP_PORT": "8080",
        "SINK": "stdout",
    }
    service = Service("consumer", (), environment, 2, frozenset(), {})
    local = local_environment(service, FOLDERS, "127.0.0.1:19092", 4711)
    assert local["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:19092"
    assert (local["HTTP_HOST"], local["HTTP_PORT"], local["SINK"]) == ("127.0.0.1", "4711", "stdout")


def test_a_broker_elsewhere_stays_elsewhere() -> None:
    """Only the stack's own broker is replaced."""
    service = Service("consumer", (), {"KAFKA_BOOTSTRAP_SERVERS": "broker.example:9092"}, 1, frozenset(), {})
    assert local_environment(service, {}, "127.0.0.1:1", 2)["KAFKA_BOOTSTRAP_SERVERS"] == "broker.example:9092"


def test_replicas_are_numbered_as_compose_does() -> None:
    """From 1."""
    assert process_names(Service("consumer", (), {}, 2, frozenset(), {}), 2) == ("consumer-1", "consumer-2")


def test_a_process_is_killed_only_after_its_drain_time() -> None:
    """The margin is on top of what the service takes."""
    assert stop_wait_s({"SHUTDOWN_TIMEOUT_S": "20"}) > 20


def test_the_broker_is_started_first_and_stopped_last() -> None:
    """supervisor stops from high to low."""
    assert min(PRIORITIES, key=PRIORITIES.__getitem__) == "zookeeper"
    assert PRIORITIES["zookeeper"] < PRIORITIES["kafka"] < PRIORITIES["consumer"]
    assert PRIORITIES["consumer"] < PRIORITIES["producer"] < PRIORITIES["visitor"]


def test_commands_and_values_survive_supervisors_format() -> None:
    """Percent signs are doubled there, blanks and commas quoted."""
    program = configuration(process(command=("a b", "100%"), environment={"A": "x,y %s", "B": 'say "x"'}))
    section = program["program:consumer-1"]
    assert shlex.split(section["command"].replace("%%", "%")) == ["a b", "100%"]
    assert section["environment"] == 'A="x,y %%s",B=\'say "x"\''


@pytest.mark.parametrize("value", ["a\nb", "a ;b", "a #b", "'\""])
def test_what_the_format_cannot_carry_is_refused(value: str) -> None:
    """Silently cut values would be worse."""
    with pytest.raises(OperatorError):
        configuration(process(environment={"A": value}))


def test_the_broker_listens_on_loopback_alone() -> None:
    """No setting names another address."""
    settings = server_properties(Path("/d"), Ports(1, 2), {"auto.create.topics.enable": "true"})
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["auto.create.topics.enable"] == "true"


@pytest.mark.parametrize(("lock_file", "version"), [(LOCK_FILE, "4.3.0"), (ZOOKEEPER_LOCK_FILE, "3.9.1")])
def test_every_jar_of_the_lock_has_a_checksum_and_one_version(lock_file: Path, version: str) -> None:
    """The class path holds Kafka's own client, not the one that log4j's tests want."""
    jars = read_lock(lock_file)
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars)
    kafka = {jar.version for jar in jars if jar.group == "org.apache.kafka"}
    assert kafka == {version}


def test_the_demo_site_is_the_containers() -> None:
    """The one nginx.conf of the repository fits both; nothing of the container's paths is left."""
    text = (ROOT / "compose" / "nginx" / "nginx.conf").read_text()
    local = local_configuration(text, Path("/r/nginx"), Path("/r/log"), 4711)
    assert "listen       127.0.0.1:4711" in local
    assert "access_log  /r/log/access.log" in local
    assert not any(path in local for path in ("/var/log/site", " /tmp/", "user  nginx"))


def test_a_changed_site_is_noticed() -> None:
    """A replacement that finds nothing must not pass silently."""
    with pytest.raises(OperatorError):
        local_configuration("events {}", Path("/r"), Path("/l"), 1)
