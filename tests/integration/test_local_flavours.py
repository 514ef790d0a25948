"""Local mode with another Kafka than the default, or a secured one: the verbs as they are typed."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from compose.control.flavours import BROKERS
from compose.control.state import StateFile
from compose.local.ports import free_port
from compose.security.folder import SecretFolder
from tests.integration.conftest import DEADLINE_S
from tests.integration.consumer_driver import until
from tests.repository import Repository

DELIVERED = "Every line is in the topic, and every group got every record."


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    variables = {"MODE": "local", "KAFKA_HOST_PORT": str(free_port()), "YES": "1", "LINES": "300"}
    made = Repository.copied_to(tmp_path, variables)
    yield made
    made.verb("clean")


def test_kafka_with_zookeeper_delivers_every_line_once(repository: Repository) -> None:
    """Kafka 3.9; its data is not for another flavour."""
    assert "zookeeper" in repository.succeeds("up", KAFKA="zookeeper")
    assert DELIVERED in repository.succeeds("verify")
    repository.succeeds("down")
    refused = repository.verb("up", KAFKA="kraft")
    assert refused.returncode == 1
    assert "belongs to KAFKA=zookeeper" in refused.stdout + refused.stderr
    repository.succeeds("clean")
    assert not (repository.folder / ".run").exists()


def test_a_cluster_is_restarted_broker_by_broker_and_delivers_every_line_once(repository: Repository) -> None:
    """`SERVICE=kafka` means all three, each when every copy is in sync."""
    ports = {name: str(free_port()) for name in ("KAFKA_2_HOST_PORT", "KAFKA_3_HOST_PORT")}
    repository.succeeds("up", KAFKA="cluster", **ports)
    restarted = repository.succeeds("restart", SERVICE="kafka")
    assert [line for line in restarted.splitlines() if line.startswith("Restarting ")] == [
        f"Restarting {broker}." for broker in BROKERS
    ]
    assert DELIVERED in repository.succeeds("verify")
    repository.succeeds("clean")
    assert not (repository.folder / ".run").exists()


def test_a_secured_stack_delivers_every_line_once_and_stays_one(repository: Repository) -> None:
    """Asked for once, at `up`; the verbs after it log in, each with the rights of its service and no others."""
    repository.succeeds("up", SECURE="1")
    assert DELIVERED in repository.succeeds("verify")
    use_the_tools(repository)
    change_certificates(repository)
    assert "Kafka: kraft, at 127.0.0.1:" in status_when_ready(repository)
    refused = repository.verb("up", SECURE="")
    assert refused.returncode == 1
    assert "set up with SECURE=1, and is now to run without it" in refused.stdout + refused.stderr
    assert "Nothing to do" in repository.succeeds("up")


def status_when_ready(repository: Repository) -> str:
    """Once everything is: on a busy machine a commit may fail for a moment while certificates change."""
    told: list[str] = []

    def ready() -> bool:
        done = repository.verb("status")
        told.append(done.stdout)
        return done.returncode == 0

    until(ready, "everything is ready")
    return told[-1]


def with_id(repository: Repository, cluster_id: str) -> None:
    """As if the positions were of that cluster."""
    state_file = StateFile(repository.folder / ".run")
    state = state_file.load()
    assert state is not None
    assert state.cluster_id
    state_file.save(state.model_copy(update={"cluster_id": cluster_id}))


def use_the_tools(repository: Repository) -> None:
    """On a line and a record that nobody understands, so that they have something to do."""
    with (repository.folder / ".run" / "var" / "log" / "verify" / "verify_access.log").open("a") as log:
        log.write("no line of nginx\n")
    own = repository.folder / ".run" / "secure" / "clients" / "producer"
    login = {"sasl.username": "producer", "sasl.password": (own / "password").read_text()}
    mechanism = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
    servers = {"bootstrap.servers": f"127.0.0.1:{repository.variables['KAFKA_HOST_PORT']}"}
    producer = Producer({**servers, **mechanism, **login, "ssl.ca.location": str(own / "ca.pem"), "log_level": 0})
    producer.produce("nginx_logs", b"no record")
    assert producer.flush(DEADLINE_S) == 0
    kinds = ("unparseable_line: 1 from service producer", "group archiver", "group consumer")

    def are_told() -> bool:
        told = repository.succeeds("dead-letters")
        return all(kind in told for kind in kinds)

    until(are_told, "both are set aside")
    assert "Every confirmed line of" in repository.succeeds("audit")
    assert "archiver: " in repository.succeeds("groups")
    repository.succeeds("replay-dead-letters")
    assert "Sent: 1 (invalid_record: 1)." in repository.succeeds("replay-to-group", GROUP="consumer")
    reset = repository.succeeds("reset-group", GROUP="fanout-group-1", TO="earliest")  # which does not run
    assert "Group fanout-group-1 goes on from there" in reset


def change_certificates(repository: Repository) -> None:
    """While the broker runs; one that is new on disk alone, as where that was interrupted; and another authority."""
    assert "see the new certificate" in repository.succeeds("certificates")
    SecretFolder(repository.folder / ".run" / "secure").renew()
    assert "does not show the certificate that is in its file" in repository.succeeds("status")
    assert "The broker shows its new certificate" in repository.succeeds("up")
    assert "the broker is restarted" in repository.succeeds("certificates", AUTHORITY="1")


def test_a_cluster_of_yours_gets_the_topics_and_no_broker_beside_it(repository: Repository, broker: str) -> None:
    """Named once, at `up`; the verbs after it ask the same servers, and `clean` leaves its topics."""
    names = {name: f"{name.lower()}-{uuid.uuid4().hex[:8]}" for name in ("KAFKA_TOPIC", "KAFKA_STATE_TOPIC")}
    names["KAFKA_DEAD_LETTER_TOPIC"] = f"dead-letters-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    try:
        repository.succeeds("up", KAFKA_BOOTSTRAP_SERVERS=broker, **names)
        assert DELIVERED in repository.succeeds("verify")
        assert f"Kafka: external, at {broker}." in repository.succeeds("status")
        run = repository.folder / ".run"
        assert not (run / "kafka").exists()
        # They hold what the services are told, which may be secret.
        assert {stat.S_IMODE((run / name).stat().st_mode) for name in ("stack.json", "supervisord.conf")} == {0o600}
        refused = repository.verb("up", KAFKA="kraft", KAFKA_BOOTSTRAP_SERVERS="")
        assert "belongs to KAFKA=external" in refused.stdout + refused.stderr
        with_id(repository, "another")
        refused = repository.verb("up")
        assert "is another cluster" in refused.stdout + refused.stderr
        repository.succeeds("clean")
        assert set(names.values()) <= admin.list_topics(timeout=DEADLINE_S).topics.keys()
    finally:
        for future in admin.delete_topics(list(names.values())).values():
            future.result(DEADLINE_S)
