"""compose/secure.yaml: everybody logs in as himself, every door is locked, and no secret stands in it."""

from __future__ import annotations

import pytest
import yaml

from compose.control.topology import overlaid, read_services
from compose.security.folder import ADMIN
from compose.security.local import setting_name
from services.topics.settings import TopicsSettings
from tests.unit.stack.test_compose_files import KAFKA_CLIENTS, OVERLAY, ROOT, SCALING

OF_A_CLIENT_CERTIFICATE = ("KAFKA_SSL_CERTIFICATE_FILE", "KAFKA_SSL_KEY_FILE", "KAFKA_SSL_KEY_PASSWORD_FILE")
LAID = yaml.safe_load(OVERLAY.read_text())["services"]
BROKER = LAID["kafka"]["environment"]


def test_everybody_who_speaks_to_kafka_logs_in() -> None:
    """A service that is forgotten here is one that a secured broker refuses."""
    assert LAID.keys() - {"kafka"} == set(KAFKA_CLIENTS)


@pytest.mark.parametrize("name", KAFKA_CLIENTS)
def test_each_logs_in_as_itself_and_sees_its_own_secrets_only(name: str) -> None:
    principal = ADMIN if name == "topics" else name
    environment = LAID[name]["environment"]
    assert environment["KAFKA_SASL_USERNAME"] == principal
    assert environment["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    # Nothing that is left for another Kafka weakens this one.
    assert environment["KAFKA_SSL_CHECK_HOSTNAME"] == "true"
    assert not any(environment[name] for name in OF_A_CLIENT_CERTIFICATE)
    assert LAID[name]["volumes"] == [f"${{SECURE_DIR:-./.run/secure}}/clients/{principal}:/run/kafka-client:ro"]
    assert LAID[name]["group_add"] == ["${SECURE_GID:-10001}"]


def given_rights(**variables: str) -> TopicsSettings:
    environment = read_services(OVERLAY.read_text(), variables)["topics"].environment
    return TopicsSettings.model_validate(
        {key.lower(): text for key, text in environment.items() if key.startswith("KAFKA_ACL_")}
    )


def test_every_consumer_of_the_stack_has_rights_and_nobody_else() -> None:
    """One principal a group: the names are those of the services."""
    given = given_rights()
    assert set(given.kafka_acl_consumers) == set(SCALING)
    assert given.kafka_acl_producers == ("producer",)
    assert given.kafka_acl_tools == ("toolbox",)


def test_who_is_named_besides_has_rights_besides() -> None:
    given = given_rights(KAFKA_ACL_CONSUMERS="mine,yours", KAFKA_ACL_PRODUCERS="web", KAFKA_ACL_TOOLS="desk")
    assert set(given.kafka_acl_consumers) == {*SCALING, "mine", "yours"}
    assert given.kafka_acl_producers == ("producer", "web")
    assert given.kafka_acl_tools == ("toolbox", "desk")


def test_no_door_of_the_broker_is_open() -> None:
    doors = dict(door.split(":", 1) for door in BROKER["KAFKA_LISTENERS"].split(","))
    protocols = dict(pair.split(":") for pair in BROKER["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert protocols.keys() == doors.keys()
    for door, protocol in protocols.items():
        asks = BROKER.get(f"KAFKA_LISTENER_NAME_{door}_SSL_CLIENT_AUTH")
        assert protocol == "SASL_SSL" or (protocol, asks) == ("SSL", "required"), door


def test_nothing_is_allowed_that_no_rule_allows() -> None:
    assert BROKER["KAFKA_AUTHORIZER_CLASS_NAME"].endswith(".StandardAuthorizer")
    assert BROKER["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"
    assert BROKER["KAFKA_SUPER_USERS"] == f"User:CN=kafka;User:{ADMIN}"


def test_no_secret_stands_in_the_environment_but_in_files() -> None:
    for name, service in LAID.items():
        for variable, text in service["environment"].items():
            is_secret = "PASSWORD" in variable and not variable.endswith("_FILE")
            assert not is_secret, f"{name}: {variable}"
            assert "password=" not in str(text), f"{name}: {variable}"


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("KAFKA_SSL_KEYSTORE_TYPE", "ssl.keystore.type"),
        (
            "KAFKA_LISTENER_NAME_HOST_SCRAM___SHA___512_SASL_JAAS_CONFIG",
            "listener.name.host.scram-sha-512.sasl.jaas.config",
        ),
        ("KAFKA_A__B_C", "a_b.c"),
    ],
)
def test_variables_are_read_as_the_image_reads_them(variable: str, name: str) -> None:
    assert setting_name(variable) == name


def test_the_overlay_replaces_values_and_adds_mounts() -> None:
    """As Compose does it, for the local mode."""
    services = read_services((ROOT / "compose" / "services.yaml").read_text(), {})
    laid = overlaid(services, read_services(OVERLAY.read_text(), {"SECURE_DIR": "/secrets"}))
    producer = laid["producer"]
    assert laid.keys() == services.keys()
    assert producer.environment["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert producer.environment["LOG_FILES"] == services["producer"].environment["LOG_FILES"]
    assert producer.mounts["/run/kafka-client"] == "/secrets/clients/producer"
    assert producer.mounts["/var/lib/producer"] == "producer_state"
    assert producer.command == services["producer"].command
