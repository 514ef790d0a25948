"""The broker of compose/secure.yaml as a process of this machine: the same settings under Kafka's own names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from compose.local.broker import Ports
from compose.local.ports import LOOPBACK
from compose.security.folder import CONTAINER_FOLDER, SecretFolder

# What the image itself reads, and what is about addresses: this machine has other ones.
_NOT_TAKEN_OVER = frozenset({"KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS"})
_MARKS = {"___": "-", "__": "_", "_": "."}


def setting_name(variable: str) -> str:
    """`KAFKA_SSL_KEYSTORE_TYPE` is `ssl.keystore.type`: the rule of the images."""
    return re.sub("_{1,3}", lambda match: _MARKS[match[0]], variable.removeprefix("KAFKA_").lower())


def secured_settings(
    environment: Mapping[str, str], folder: SecretFolder, ports: Ports, brokers_port: int
) -> dict[str, str]:
    """What server.properties needs besides, made of the broker's variables in the overlay.

    `brokers_port` is for a listener of their own, on which brokers know each other by certificates.
    """
    taken = {
        setting_name(variable): value.replace(CONTAINER_FOLDER, str(folder.path.resolve() / "broker"))
        for variable, value in environment.items()
        if variable not in _NOT_TAKEN_OVER
    }
    doors = f"HOST://{LOOPBACK}:{ports.kafka},BROKER://{LOOPBACK}:{brokers_port}"
    return {
        **taken,
        "listeners": f"{doors},CONTROLLER://{LOOPBACK}:{ports.controller}",
        "advertised.listeners": doors,
    }
