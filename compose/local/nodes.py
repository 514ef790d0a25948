"""The processes of each flavour of Kafka in local mode: their files, commands and folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.control.flavours import BROKERS
from compose.local.broker import Broker, Ports, ZooKeeper
from compose.local.jars import Progress
from compose.local.ports import LOOPBACK
from compose.local.processes import CLUSTER_STOP_WAIT_S, KAFKA_STOP_WAIT_S

CONTROLLER = "-controller"
ZOOKEEPER = "zookeeper"
# One for all nodes, also where a preparation was interrupted between two of them.
CLUSTER_ID = "bmdpbngta2Fma2EtY2x1cw"
# The folder of a flavour's data, below the run directory.
FOLDERS: Mapping[str, str] = {"kraft": "kafka", "zookeeper": "kafka-zookeeper", "cluster": "kafka-cluster"}


@dataclass(frozen=True)
class Node:
    """A broker, or what one needs, as a process manager runs it. Other `settings` make it another program.

    `stop_wait_s` is what it has between SIGTERM and SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    settings: str
    stop_wait_s: int = KAFKA_STOP_WAIT_S


@dataclass(frozen=True)
class Secured:
    """What locks the doors of the one broker: settings besides, and what its storage is formatted with."""

    settings: Mapping[str, str]
    format_arguments: Sequence[str]


OPEN = Secured({}, ())


def port_names(flavour: str) -> tuple[str, ...]:
    """What a flavour needs ports for, besides the brokers' doors to clients."""
    named = {"kraft": (BROKERS[0] + CONTROLLER,), "zookeeper": (ZOOKEEPER,)}
    return named.get(flavour, tuple(name + CONTROLLER for name in BROKERS) if flavour == "cluster" else ())


def ports_of(broker: str, ports: Mapping[str, int]) -> Ports:
    """Those of a broker that is its own controller."""
    return Ports(ports[broker], ports[broker + CONTROLLER])


def prepare(
    flavour: str, run: Path, ports: Mapping[str, int], progress: Progress, security: Secured = OPEN
) -> tuple[Node, ...]:
    """Fetch the jars, write every node's files and format its storage; the nodes in the order of starting.

    Only `kraft` can be secured. Raises OperatorError.
    """
    match flavour:
        case "kraft":
            return _kraft(run / FOLDERS[flavour], ports, progress, security)
        case "zookeeper":
            return _zookeeper(run / FOLDERS[flavour], ports, progress)
        case "cluster":
            return _cluster(run / FOLDERS[flavour], ports, progress)
    raise ValueError(f"local mode has no files for KAFKA={flavour}")


def _kraft(folder: Path, ports: Mapping[str, int], progress: Progress, security: Secured) -> tuple[Node, ...]:
    name = BROKERS[0]
    broker = Broker.prepare(
        folder,
        ports_of(name, ports),
        overrides=security.settings,
        format_arguments=security.format_arguments,
        progress=progress,
    )
    return (_node(name, broker),)


def _zookeeper(folder: Path, ports: Mapping[str, int], progress: Progress) -> tuple[Node, ...]:
    name = BROKERS[0]
    keeper = ZooKeeper.prepare(folder / ZOOKEEPER, ports[ZOOKEEPER], progress=progress)
    broker = Broker.prepare_with_zookeeper(folder / name, ports[name], ports[ZOOKEEPER], progress=progress)
    return Node(ZOOKEEPER, keeper.command, keeper.settings_file.read_text()), _node(name, broker)


def _cluster(folder: Path, ports: Mapping[str, int], progress: Progress) -> tuple[Node, ...]:
    own = [ports_of(name, ports) for name in BROKERS]
    made = prepare_cluster([folder / name for name in BROKERS], own, progress=progress)
    return tuple(_node(name, broker, CLUSTER_STOP_WAIT_S) for name, broker in zip(BROKERS, made, strict=True))


def _node(name: str, broker: Broker, stop_wait_s: int = KAFKA_STOP_WAIT_S) -> Node:
    return Node(name, broker.command, broker.settings_file.read_text(), stop_wait_s)


def prepare_cluster(
    folders: Sequence[Path], ports: Sequence[Ports], *, progress: Progress | None = None
) -> list[Broker]:
    """Nodes that belong together, each in a rack: three copies of everything, two of them before an answer."""
    voters = ",".join(f"{number}@{LOOPBACK}:{port.controller}" for number, port in enumerate(ports, 1))
    copies = {
        "controller.quorum.voters": voters,
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        "share.coordinator.state.topic.replication.factor": "3",
        "share.coordinator.state.topic.min.isr": "2",
        "default.replication.factor": "3",
        "min.insync.replicas": "2",
        "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    }
    return [
        Broker.prepare(
            folder,
            port,
            overrides={**copies, "node.id": str(number), "broker.rack": f"rack-{number}"},
            cluster_id=CLUSTER_ID,
            progress=progress,
        )
        for number, (folder, port) in enumerate(zip(folders, ports, strict=True), 1)
    ]
