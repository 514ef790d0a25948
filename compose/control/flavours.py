"""Which Kafka the stack has.

One table; the containers of a flavour are in compose/brokers/NAME.yaml. What the other services must know of it is in
NAME.env beside it, for Docker and local mode alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from dotenv import dotenv_values

from compose.control.state import Mode
from compose.errors import OperatorError

VARIABLE, SERVERS_VARIABLE = "KAFKA", "KAFKA_BOOTSTRAP_SERVERS"
KRAFT, EXTERNAL = "kraft", "external"
THREE = ("kafka", "kafka-2", "kafka-3")


@dataclass(frozen=True)
class Flavour:
    """One way to have a Kafka. `brokers`: services of Compose and processes of local mode; `beside`: what they need."""

    name: str
    what: str
    brokers: tuple[str, ...] = ("kafka",)
    beside: tuple[str, ...] = ()
    local: bool = False

    @property
    def processes(self) -> tuple[str, ...]:
        """All that runs for it, in the order of starting."""
        return (*self.beside, *self.brokers)


FLAVOURS: Mapping[str, Flavour] = {
    each.name: each
    for each in (
        Flavour(KRAFT, "one broker, apache/kafka", local=True),
        Flavour("zookeeper", "one broker of Kafka 3.9 with ZooKeeper", beside=("zookeeper",), local=True),
        Flavour("confluent", "one broker, confluentinc/cp-kafka"),
        Flavour("bitnami", "one broker, bitnamilegacy/kafka"),
        Flavour("bitnami-zookeeper", "one broker of Kafka 3.9 with ZooKeeper, bitnamilegacy", beside=("zookeeper",)),
        Flavour("cluster", "three brokers, three copies", brokers=THREE, local=True),
        Flavour(EXTERNAL, "your own, at KAFKA_BOOTSTRAP_SERVERS", brokers=(), local=True),
    )
}


def choose_flavour(variables: Mapping[str, str]) -> Flavour:
    """What KAFKA and KAFKA_BOOTSTRAP_SERVERS ask for. Raises OperatorError when they contradict each other."""
    wanted, servers = variables.get(VARIABLE, ""), variables.get(SERVERS_VARIABLE, "")
    if wanted and wanted not in FLAVOURS:
        raise OperatorError(f"KAFKA={wanted} is not known.", f"Use one of: {', '.join(FLAVOURS)}.")
    if servers and wanted not in ("", EXTERNAL):
        raise OperatorError(
            f"KAFKA={wanted} starts a Kafka, and KAFKA_BOOTSTRAP_SERVERS={servers} names another one.",
            "Leave one of them out (an empty value takes an earlier choice back).",
        )
    if wanted == EXTERNAL and not servers:
        raise OperatorError(
            "KAFKA=external is your own cluster, and it is not named.",
            "Name it: make up KAFKA_BOOTSTRAP_SERVERS=broker-1.example:9092,broker-2.example:9092",
        )
    return FLAVOURS[wanted or (EXTERNAL if servers else KRAFT)]


def check_mode(flavour: Flavour, mode: Mode, variables: Mapping[str, str]) -> None:
    """Whether the flavour can be had in this mode. Raises OperatorError."""
    if mode == "local" and not flavour.local:
        raise OperatorError(
            f"KAFKA={flavour.name} is made of images, which local mode does not run.",
            f"Use KAFKA={', '.join(each.name for each in FLAVOURS.values() if each.local)}, or MODE=docker.",
        )
    for server in variables.get(SERVERS_VARIABLE, "").split(",") if mode == "docker" else ():
        host = server.strip().rpartition(":")[0].strip("[]") or server.strip()
        if host in ("localhost", "::1") or host.startswith("127."):
            raise OperatorError(
                f"KAFKA_BOOTSTRAP_SERVERS={server.strip()}: in a container {host} is the container itself.",
                "Name an address that containers reach too, or use MODE=local.",
            )


def known_of(root: Path, flavour: Flavour) -> dict[str, str]:
    """What the other services must know of the flavour: variables of the Compose files."""
    found = dotenv_values(root / "compose" / "brokers" / f"{flavour.name}.env")
    return {name: value for name, value in found.items() if value is not None}


def with_flavour(variables: Mapping[str, str], flavour: Flavour, known: Mapping[str, str]) -> dict[str, str]:
    """The variables for this flavour. Empty ones do not stand before what it brings; servers of others do not stay."""
    kept = {
        name: value
        for name, value in variables.items()
        if (value or name not in known) and (name != SERVERS_VARIABLE or flavour.name == EXTERNAL)
    }
    return {**kept, VARIABLE: flavour.name}


def volumes_of(root: Path, flavour: Flavour) -> frozenset[str]:
    """The volumes that its brokers' data is in."""
    text = (root / "compose" / "brokers" / f"{flavour.name}.yaml").read_text()
    return frozenset(yaml.safe_load(text).get("volumes", {}))


def check_data(flavour: Flavour, held: Collection[str]) -> None:
    """`held` names the flavours whose data is here. Raises OperatorError when there is only that of others."""
    others = [name for name in FLAVOURS if name in held]
    if not others or flavour.name in others:
        return
    raise OperatorError(
        f"What is stored here belongs to KAFKA={others[0]}, and KAFKA={flavour.name} cannot read it: the records, the "
        "positions of the groups, and how far each file was sent. Nothing was changed.",
        f"To go on with it: make up KAFKA={others[0]}. To remove it and begin anew: make clean KAFKA={others[0]}, "
        f"then make up KAFKA={flavour.name}",
    )


def host_port(broker: str, first: int) -> tuple[str, str]:
    """The variable of a broker's port on this machine, and its default; `first` is that of the first broker."""
    number = broker.partition("-")[2]
    return (f"KAFKA_{number}_HOST_PORT", str(first + int(number) - 1)) if number else ("KAFKA_HOST_PORT", str(first))
