"""Which Kafka the stack has: what is typed, what is remembered, what is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from compose.control import kafka_view
from compose.control.__main__ import open_stack
from compose.control.docker_stack import DockerStack
from compose.control.flavours import (
    FLAVOURS,
    check_cluster,
    check_data,
    check_mode,
    checked_ports,
    choose_flavour,
    host_port,
    known_of,
    with_flavour,
)
from compose.control.kafka_view import ask_cluster
from compose.control.state import Mode, StackState, StateFile
from compose.errors import OperatorError
from compose.local import nodes
from compose.local.nodes import FOLDERS
from compose.local.ports import free_port
from compose.local.processes import CONTAINER_BROKERS

ROOT = Path(__file__).resolve().parents[3]
SERVERS = "KAFKA_BOOTSTRAP_SERVERS"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "kraft"),
        ({"KAFKA": "", SERVERS: ""}, "kraft"),
        ({"KAFKA": "cluster"}, "cluster"),
        ({SERVERS: "broker.example:9092"}, "external"),
        ({"KAFKA": "external", SERVERS: "broker.example:9092"}, "external"),
    ],
)
def test_what_is_typed_chooses(variables: dict[str, str], expected: str) -> None:
    """KAFKA_BOOTSTRAP_SERVERS alone means a cluster of yours."""
    assert choose_flavour(variables).name == expected


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KAFKA": "redpanda"}, "KAFKA=redpanda is not known"),
        ({"KAFKA": "cluster", SERVERS: "a:1"}, "names another one"),
        ({"KAFKA": "external"}, "is not named"),
    ],
)
def test_contradictions_are_refused(variables: dict[str, str], said: str) -> None:
    """With what is allowed in the next step."""
    with pytest.raises(OperatorError, match=said) as caught:
        choose_flavour(variables)
    assert caught.value.next_step


def test_a_mode_has_its_flavours() -> None:
    """Local mode runs no images; containers do not reach this machine by its loopback."""
    for name in FOLDERS:
        check_mode(FLAVOURS[name], "local", {})
    with pytest.raises(OperatorError, match="made of images"):
        check_mode(FLAVOURS["bitnami"], "local", {})
    spellings = ("LOCALHOST:9092", "localhost.:9092", "0.0.0.0:9092", "[::]:9092", "[::ffff:127.0.0.1]:9092")
    for server in ("localhost:9092", "127.0.0.1:9092", "127.1.2.3:9092", "[::1]:9092", "localhost", *spellings):
        with pytest.raises(OperatorError, match="is the container itself"):
            check_mode(FLAVOURS["external"], "docker", {SERVERS: f"broker.example:9092,{server}"})
    check_mode(FLAVOURS["external"], "docker", {SERVERS: "10.0.0.1:9092,localhost.example:9092"})
    check_mode(FLAVOURS["external"], "local", {SERVERS: "localhost:9092"})


def test_data_of_others_is_refused_and_ones_own_is_not() -> None:
    """With nothing here everything may begin."""
    check_data(FLAVOURS["cluster"], (), "")
    check_data(FLAVOURS["cluster"], (), "kraft")
    check_data(FLAVOURS["cluster"], ("cluster",), "")
    with pytest.raises(OperatorError, match="belongs to KAFKA=external"):
        check_data(FLAVOURS["cluster"], ("external",), "external")


def test_beside_data_of_others_one_goes_on_with_what_make_started() -> None:
    """Both were used with `docker compose`, and there is one set of positions: whose it is, only make may know."""
    held = ("kraft", "cluster")
    check_data(FLAVOURS["cluster"], held, "cluster")
    with pytest.raises(OperatorError, match="belongs to KAFKA=cluster"):
        check_data(FLAVOURS["kraft"], held, "cluster")
    with pytest.raises(OperatorError, match="which one is not known"):
        check_data(FLAVOURS["kraft"], held, "")


def test_another_cluster_of_yours_is_refused() -> None:
    """The positions are those of the one that answered first; its servers may have other names by now."""
    check_cluster("a:1", "one", "")
    check_cluster("b:1", "one", "one")
    with pytest.raises(OperatorError, match=r"KAFKA_BOOTSTRAP_SERVERS=b:1 is another cluster \(two\)") as caught:
        check_cluster("b:1", "two", "one")
    assert "make clean, which forgets the positions and the archive" in caught.value.next_step


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"KAFKA_HOST_PORT": "19093", "KAFKA_2_HOST_PORT": "19093"},
            "KAFKA_HOST_PORT=19093 and KAFKA_2_HOST_PORT=19093",
        ),
        ({"KAFKA_HOST_PORT": "70000"}, "KAFKA_HOST_PORT=70000: a port is a number from 1 to 65535"),
        ({"KAFKA_HOST_PORT": "abc", "NGINX_HOST_PORT": "0"}, "KAFKA_HOST_PORT=abc, NGINX_HOST_PORT=0"),
        ({"KAFKA_HOST_PORT": "9" * 5000}, "a port is a number"),
        ({"KAFKA_HOST_PORT": "²"}, "a port is a number"),
    ],
)
def test_ports_that_cannot_be_had_are_refused_by_name(wanted: dict[str, str], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        checked_ports(wanted)
    assert checked_ports({"KAFKA_HOST_PORT": "1", "NGINX_HOST_PORT": "65535"})["NGINX_HOST_PORT"] == 65535


def test_local_mode_has_files_for_each_flavour_that_it_offers(tmp_path: Path) -> None:
    """And for no other: an unknown one is an error and not a stack without a broker."""
    assert {flavour.name for flavour in FLAVOURS.values() if flavour.local and flavour.brokers} == FOLDERS.keys()
    with pytest.raises(ValueError, match="KAFKA=bitnami"):
        nodes.prepare("bitnami", tmp_path, {}, lambda _done, _total, _name: None)


def test_an_empty_variable_does_not_undo_what_the_flavour_brings() -> None:
    """An empty value takes an own choice back, and servers of another Kafka are not handed on."""
    known = known_of(ROOT, FLAVOURS["cluster"])
    typed = {"KAFKA_TOPIC_REPLICATION_FACTOR": "", "KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "1", SERVERS: "a:1"}
    assert with_flavour(typed, FLAVOURS["cluster"], known) == {
        "KAFKA": "cluster",
        "KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "1",
    }
    assert with_flavour({SERVERS: "a:1"}, FLAVOURS["external"], {})[SERVERS] == "a:1"


def test_every_broker_has_a_port_of_its_own() -> None:
    ports = dict(host_port(broker, 29092) for broker in FLAVOURS["cluster"].brokers)
    assert ports == {"KAFKA_HOST_PORT": "29092", "KAFKA_2_HOST_PORT": "29093", "KAFKA_3_HOST_PORT": "29094"}


def test_the_brokers_inside_are_told_from_others() -> None:
    """Local mode puts its own addresses in their place, and in nobody else's."""
    known = known_of(ROOT, FLAVOURS["cluster"])
    assert CONTAINER_BROKERS.fullmatch(known[SERVERS])
    assert CONTAINER_BROKERS.fullmatch("kafka:9092")
    assert not CONTAINER_BROKERS.fullmatch("kafka.example:9092")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with the Compose files of this one, and a stack that was started with three brokers."""
    for name in ("compose", "compose.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("MODE", "KAFKA", "SECURE", SERVERS):
        monkeypatch.delenv(name, raising=False)

    def prepare(*_arguments: object) -> None:
        raise AssertionError("this far and no further: a broker would be started")

    monkeypatch.setattr(nodes, "prepare", prepare)
    state = StackState(mode="local", running=True, kafka="cluster", variables={"KAFKA": "cluster"})
    StateFile(tmp_path / ".run").save(state)
    return tmp_path


def test_later_verbs_go_to_the_kafka_that_was_started(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is typed or stands in the environment; only `up` listens to that, and refuses with data here."""
    monkeypatch.setenv("KAFKA", "kraft")
    monkeypatch.setenv("KAFKA_HOST_PORT", "20001")
    stack = open_stack(repository)
    assert stack.flavour.name == "cluster"
    assert stack.bootstrap_servers == "127.0.0.1:20001,127.0.0.1:19093,127.0.0.1:19094"
    assert stack.services()["topics"].environment["KAFKA_TOPIC_REPLICATION_FACTOR"] == "3"
    (repository / ".run" / FOLDERS["cluster"]).mkdir()
    with pytest.raises(OperatorError, match="belongs to KAFKA=cluster"):
        open_stack(repository, anew=True).up(print)


def test_your_own_servers_reach_every_service(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what the verbs ask as well."""
    StateFile(repository / ".run").forget("local")
    monkeypatch.setenv("MODE", "local")
    monkeypatch.setenv(SERVERS, "broker.example:9092")
    stack = open_stack(repository, anew=True)
    assert (stack.flavour.name, stack.bootstrap_servers) == ("external", "broker.example:9092")
    told = {one.environment[SERVERS] for one in stack.services().values() if SERVERS in one.environment}
    assert told == {"broker.example:9092"}


@pytest.mark.parametrize("other", [{"KAFKA": "cluster"}, {SERVERS: "broker.example:9092"}])
def test_only_the_default_kafka_is_secured(
    repository: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    """Nothing is secured in passing, nor is another Kafka left out without a word."""
    StateFile(repository / ".run").forget("local")
    for name, value in {"MODE": "local", "SECURE": "1", **other}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError, match="is another Kafka"):
        open_stack(repository, anew=True)


def test_later_verbs_go_on_as_the_stack_was_secured(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with its Kafka; what stands in .env is no choice of theirs either."""
    StateFile(repository / ".run").save(StackState(mode="local", running=True, kafka="kraft", secured=True))
    (repository / ".run" / FOLDERS["kraft"]).mkdir()
    for typed in ("", "1"):
        monkeypatch.setenv("SECURE", typed)
        stack = open_stack(repository)
        assert stack.secrets is not None
        assert stack.services()["producer"].environment["KAFKA_SASL_USERNAME"] == "producer"
    monkeypatch.setenv("SECURE", "")
    with pytest.raises(OperatorError, match="set up with SECURE=1, and is now to run without it"):
        open_stack(repository, anew=True).up(print)
    monkeypatch.delenv("SECURE")
    (repository / ".env").write_text("SECURE=1\n")
    StateFile(repository / ".run").save(StackState(mode="local", running=True, kafka="kraft"))
    assert open_stack(repository).secrets is None
    with pytest.raises(OperatorError, match="set up without SECURE=1, and is now to run with it"):
        open_stack(repository, anew=True).up(print)


@pytest.mark.parametrize("mode", ["local", "docker"])
def test_servers_that_do_not_answer_are_refused_and_leave_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """At once, with the reason; a typing error in them blocks no other Kafka afterwards."""
    nobody = f"127.0.0.1:{free_port()}"
    state_file = StateFile(repository / ".run")
    state_file.forget("local")
    monkeypatch.setattr("compose.control.docker_stack.check_mode", lambda *_arguments: None)
    monkeypatch.setattr(DockerStack, "_volumes", lambda _stack: {})
    monkeypatch.setattr(DockerStack, "replicas", lambda _stack: [])
    monkeypatch.setattr("compose.control.docker_stack.port_is_free", lambda _port: True)
    for name, value in {"MODE": mode, SERVERS: nobody}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError, match=f"{SERVERS}={nobody}: no answer .* Nothing was changed"):
        open_stack(repository, anew=True).up(print)
    assert state_file.load() is None
    monkeypatch.delenv(SERVERS)
    assert open_stack(repository, anew=True).flavour.name == "kraft"


def test_later_verbs_go_to_the_servers_that_were_reached(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where .env named them, and names others now."""
    reached = StackState(mode="local", running=True, kafka="external", servers="a.example:1", cluster_id="one")
    StateFile(repository / ".run").save(reached)
    (repository / ".env").write_text(f"{SERVERS}=b.example:1\n")
    assert open_stack(repository).bootstrap_servers == "a.example:1"
    assert open_stack(repository, anew=True).bootstrap_servers == "b.example:1"


def test_what_one_mode_has_is_not_forgotten_by_the_other(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose positions are here, and whether the broker's data know users: each mode has its own answer."""
    state_file = StateFile(repository / ".run")
    state_file.save(StackState(mode="docker", kafka="external", servers="a:1", cluster_id="one"))
    state_file.save(StackState(mode="local", kafka="kraft", secured=True))
    monkeypatch.setattr(DockerStack, "_volumes", lambda _stack: {})
    monkeypatch.setenv("MODE", "docker")
    monkeypatch.setenv("KAFKA", "kraft")
    with pytest.raises(OperatorError, match="belongs to KAFKA=external"):
        open_stack(repository, anew=True).up(print)
    (repository / ".run" / FOLDERS["kraft"]).mkdir()
    monkeypatch.setenv("MODE", "local")
    with pytest.raises(OperatorError, match="set up with SECURE=1, and is now to run without it"):
        open_stack(repository, anew=True).up(print)


def test_cleaning_leaves_the_other_mode_what_it_needs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state and, where it is secured, its passwords; nothing else of the folder."""
    run = repository / ".run"
    StateFile(run).save(StackState(mode="docker", kafka="kraft", secured=True))
    StateFile(run).save(StackState(mode="local", kafka="cluster"))
    for folder in ("secure", "kafka-cluster", "logs"):
        (run / folder).mkdir()
        (run / folder / "file").touch()
    (run / "supervisord.conf").touch()
    monkeypatch.setenv("MODE", "local")
    open_stack(repository).clean(print)
    assert {path.name for path in run.iterdir()} == {"secure", "stack.json"}
    assert StateFile(run).load() == StackState(mode="docker", kafka="kraft", secured=True)
    StateFile(run).forget("docker")
    open_stack(repository).clean(print)
    assert not run.exists()


def test_ports_are_looked_at_before_anything_is_touched(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both modes; a cluster's second broker has the default that the first is moved to."""
    StateFile(repository / ".run").forget("local")
    monkeypatch.setenv("KAFKA", "cluster")
    for mode, port, first in (("local", "19093", "KAFKA_HOST_PORT"), ("docker", "29093", "KAFKA_HOST_PORT")):
        monkeypatch.setenv("MODE", mode)
        monkeypatch.setenv(first, port)
        with pytest.raises(OperatorError, match=f"{first}={port} and KAFKA_2_HOST_PORT={port}"):
            open_stack(repository, anew=True).up(print)
    assert not [*(repository / ".run").iterdir()]


def test_servers_that_never_say_a_word_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that swallows what it is sent."""
    monkeypatch.setattr(kafka_view, "ASK_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(OperatorError, match=r"no answer within 0\.3 s\. Nothing was changed"):
            ask_cluster(servers, "", {}, print)


def test_files_that_this_machine_may_not_read_do_not_hinder(tmp_path: Path) -> None:
    """They may be there for the containers' user alone: what is known stays known, and the reason is told."""
    told: list[str] = []
    login = {
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "me",
        "kafka_sasl_password_file": str(tmp_path / "absent"),
    }
    assert ask_cluster("127.0.0.1:1", "one", login, told.append) == "one"
    assert "cannot be asked from here. KAFKA_SASL_PASSWORD_FILE=" in told[-1]
