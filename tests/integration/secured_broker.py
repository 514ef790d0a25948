"""A broker of compose/secure.yaml for the tests: its secrets, and how services and an independent client log in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compose.control.secured import trusting
from compose.control.topology import read_services
from compose.local.broker import Broker, Ports
from compose.local.ports import free_port
from compose.security.folder import ADMIN, SecretFolder
from compose.security.local import secured_settings
from tests.integration.conftest import DEADLINE_S, Topics
from tests.integration.consumer_driver import ROOT

CONSUMERS = ("consumer", "archiver", "forwarder")
PRINCIPALS = ("producer", "toolbox", *CONSUMERS)
TOPICS = Topics("nginx_logs", "nginx_logs_dead_letters", "nginx_logs_state", 4)
COPIES = "copies"
TOPICS_TIMEOUT_S = 120
# Doors that a Kafka of one's own may have; those of the overlay are not changed by them.
OTHER_DOORS = {"CERTIFICATE": "SSL", "PASSWORD": "SASL_SSL", "CLEAR": "SASL_PLAINTEXT"}
OTHER_PASSWORD = "the-password-of-other-doors"
BY_CERTIFICATE = "client"
# Of whoever has one name for all services.
ALONE = "alone"


@dataclass(frozen=True)
class SecuredBroker:
    """A running broker that lets nobody in who has no password or certificate."""

    broker: Broker
    folder: SecretFolder
    brokers_port: int
    other_ports: Mapping[str, int]

    @property
    def address(self) -> str:
        return self.broker.bootstrap_servers

    def settings(self, principal: str) -> dict[str, str]:
        """The variables of a service that logs in by this name."""
        own = self.folder.client(principal)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": principal,
            "KAFKA_SASL_PASSWORD_FILE": str(own / "password"),
            "KAFKA_SSL_CA_FILE": str(own / "ca.pem"),
        }

    def login(self, principal: str) -> dict[str, str]:
        """The same for a client of another make."""
        own = self.folder.client(principal)
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": principal,
            "sasl.password": (own / "password").read_text(),
            "ssl.ca.location": str(own / "ca.pem"),
        }

    def client(self, principal: str) -> dict[str, Any]:
        """All that an independent client needs."""
        return {"bootstrap.servers": self.address, "log_level": "0", **self.login(principal)}

    def make_topics(self) -> None:
        """What the service `topics` does: topics and rules."""
        environment = {
            "PATH": os.environ["PATH"],
            **self.settings(ADMIN),
            "KAFKA_TOPIC_PARTITIONS": str(TOPICS.partition_count),
            "KAFKA_SINK_TOPIC": COPIES,
            "KAFKA_ACL_PRODUCERS": "producer",
            "KAFKA_ACL_CONSUMERS": ",".join(CONSUMERS),
            "KAFKA_ACL_SINKS": "forwarder",
            "KAFKA_ACL_TOOLS": "toolbox",
        }
        command = [sys.executable, "-m", "services.topics"]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TOPICS_TIMEOUT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr


def overlay_environment() -> Mapping[str, str]:
    """The broker's variables in the overlay."""
    return read_services((ROOT / "compose" / "secure.yaml").read_text(), {})["kafka"].environment


def other_doors(settings: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """Settings of the broker with the other doors besides."""
    places = "".join(f",{door}://127.0.0.1:{port}" for door, port in ports.items())
    protocols = "".join(f",{door}:{protocol}" for door, protocol in OTHER_DOORS.items())
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_consumer="{OTHER_PASSWORD}";'
    return {
        **settings,
        "listeners": settings["listeners"] + places,
        "advertised.listeners": settings["advertised.listeners"] + places,
        "listener.security.protocol.map": settings["listener.security.protocol.map"] + protocols,
        "super.users": f"{settings['super.users']};User:CN={BY_CERTIFICATE}",
        "listener.name.certificate.ssl.client.auth": "required",
        "listener.name.password.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.password.plain.sasl.jaas.config": plain,
        "listener.name.password.scram-sha-256.sasl.jaas.config": settings[
            "listener.name.host.scram-sha-512.sasl.jaas.config"
        ],
        "listener.name.clear.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.clear.plain.sasl.jaas.config": plain,
    }


@contextmanager
def running_secured(directory: Path) -> Iterator[SecuredBroker]:
    """As local mode starts it, with the topics and the rules."""
    folder = SecretFolder(directory / "secure")
    folder.prepare(PRINCIPALS)
    ports, brokers_port = Ports(free_port(), free_port()), free_port()
    other_ports = {door: free_port() for door in OTHER_DOORS}
    names = ("consumer", ALONE)
    users = [
        word for name in names for word in ("--add-scram", f"SCRAM-SHA-256=[name={name},password={OTHER_PASSWORD}]")
    ]
    broker = Broker.prepare(
        directory / "kafka",
        ports,
        overrides=other_doors(secured_settings(overlay_environment(), folder, ports, brokers_port), other_ports),
        format_arguments=(f"@{folder.scram_arguments}", *users),
        tls=trusting(folder),
    )
    broker.start()
    try:
        broker.wait_until_ready(DEADLINE_S)
        secured = SecuredBroker(broker, folder, brokers_port, other_ports)
        secured.make_topics()
        yield secured
    finally:
        broker.stop()
