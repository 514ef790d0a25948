"""Which Kafka the stack has.

One table; the containers of a flavour are in compose/brokers/NAME.yaml. What the other services must know of it is in
NAME.env beside it, for Docker and local mode alike.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from dotenv import dotenv_values

from compose.control.state import Mode, StackState
from compose.errors import OperatorError

VARIABLE, SERVERS_VARIABLE = "KAFKA", "KAFKA_BOOTSTRAP_SERVERS"
KRAFT, EXTERNAL = "kraft", "external"
# All that a flavour may have; one that has a single broker has the first.
BROKERS = ("kafka", "kafka-2", "kafka-3")
MAX_PORT = 65_535


@dataclass(frozen=True)
class Flavour:
    """One way to have a Kafka. `brokers`: services of Compose and processes of local mode; `beside`: what they need."""

    name: str
    what: str
    brokers: tuple[str, ...] = BROKERS[:1]
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
        Flavour("cluster", "three brokers, three copies", brokers=BROKERS, local=True),
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
        if _is_this_machine(host):
            raise OperatorError(
                f"KAFKA_BOOTSTRAP_SERVERS={server.strip()}: in a container {host} is the container itself.",
                "Name an address that containers reach too, or use MODE=local.",
            )


def _is_this_machine(host: str) -> bool:
    """By a name or an address that means whoever says it, in any spelling."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    plain = (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
    return plain.is_loopback or plain.is_unspecified


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


def check_data(flavour: Flavour, held: Collection[str], last: str) -> None:
    """Raises OperatorError when the positions that are here belong to another Kafka, or may.

    `held` names the flavours whose data is here, `last` is the one that make started last, if it did.
    """
    others = [name for name in FLAVOURS if name in held and name != flavour.name]
    if not others or (flavour.name in held and flavour.name == last):
        return
    if flavour.name in held and last not in others:
        raise OperatorError(
            f"Data of more than one Kafka is here: KAFKA={', '.join([flavour.name, *others])}. The positions of the "
            "files and the archive belong to one of them, and which one is not known. Nothing was changed.",
            f"To remove all of it and begin anew: make clean, then make up KAFKA={flavour.name}",
        )
    owner = last if last in others else others[0]
    raise OperatorError(
        f"What is stored here belongs to KAFKA={owner}, and KAFKA={flavour.name} cannot read it: the records, the "
        "positions of the groups, and how far each file was sent. Nothing was changed.",
        f"To go on with it: make up KAFKA={owner}. To remove it and begin anew: make clean KAFKA={owner}, "
        f"then make up KAFKA={flavour.name}",
    )


def check_cluster(servers: str, found: str, known: str) -> None:
    """`known` is the id of the cluster of yours that the positions belong to, if there is one. Raises OperatorError."""
    if known and found and found != known:
        raise OperatorError(
            f"KAFKA_BOOTSTRAP_SERVERS={servers} is another cluster ({found}) than the one that the positions here "
            f"belong to ({known}): how far each file was sent, and the archive. Nothing was changed.",
            "To go on: name the servers of that cluster. To begin anew with this one: make clean, which forgets the "
            "positions and the archive, then the same command again.",
        )


def chosen(
    state: StackState, flavour: Flavour, variables: Mapping[str, str], cluster_id: str, *, is_secured: bool
) -> StackState:
    """The state of a stack that is about to run with this Kafka, which has answered if it is yours."""
    servers = variables.get(SERVERS_VARIABLE, "") if flavour.name == EXTERNAL else ""
    update = {"kafka": flavour.name, "servers": servers, "cluster_id": cluster_id, "secured": is_secured}
    return state.model_copy(update={"running": True, **update})


def host_port(broker: str, first: int) -> tuple[str, str]:
    """The variable of a broker's port on this machine, and its default; `first` is that of the first broker."""
    number = broker.partition("-")[2]
    return (f"KAFKA_{number}_HOST_PORT", str(first + int(number) - 1)) if number else ("KAFKA_HOST_PORT", str(first))


def checked_ports(wanted: Mapping[str, str]) -> dict[str, int]:
    """The ports of this machine by the variables that move them. Raises OperatorError for what cannot be had."""
    wrong = [f"{name}={value}" for name, value in wanted.items() if not _is_port(value)]
    if wrong:
        raise OperatorError(
            f"{', '.join(wrong)}: a port is a number from 1 to {MAX_PORT}. Nothing was changed.",
            "Correct the variable; without it the port is the default one.",
        )
    ports = {name: int(value) for name, value in wanted.items()}
    uses = Counter(ports.values())
    if twice := [name for name, port in ports.items() if uses[port] > 1]:
        named = " and ".join(f"{name}={ports[name]}" for name in twice)
        raise OperatorError(
            f"{named}: each needs a port of its own. Nothing was changed.",
            f"Move the others too: make up {' '.join(f'{name}=PORT' for name in twice)}",
        )
    return ports


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT
