"""The Kafka that faults are brought upon: one node with a proxy beside it, or a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from compose.local.broker import Broker, Ports
from compose.local.nodes import prepare_cluster
from compose.local.ports import LOOPBACK, free_port
from tests.chaos.proxy import Proxy

ADMIN_TIMEOUT_S = 20.0
NODES = 3
PARTITION_COUNT = 8


@dataclass(frozen=True)
class Topics:
    """Names of one scenario."""

    records: str
    dead_letters: str
    state: str

    @classmethod
    def of(cls, run: str) -> Topics:
        return cls(f"records-{run}", f"dead-letters-{run}", f"state-{run}")


class Kafka:
    """Running nodes, and what an administrator does to them. Nodes may be killed; `heal` brings them back."""

    def __init__(self, nodes: list[Broker], proxy: Proxy | None = None) -> None:
        self.nodes = nodes
        self._proxy = proxy
        # Kept: an admin client that is collected takes its unfinished requests with it.
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    @property
    def node(self) -> Broker:
        return self.nodes[0]

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None, "the cluster has none"
        return self._proxy

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(node.bootstrap_servers for node in self.nodes)

    @property
    def proxied_servers(self) -> str:
        """Through the proxy; whoever starts here is sent back here."""
        return f"{LOOPBACK}:{self.proxy.port}"

    def heal(self) -> None:
        """Every node runs and answers, every byte passes."""
        for node in self.nodes:
            node.resume()
            node.start()
        for node in self.nodes:
            node.wait_until_ready()
        if self._proxy is not None:
            self._proxy.heal()

    def make_topic(self, name: str, partitions: int = PARTITION_COUNT, **config: str) -> None:
        """With a copy on every node. `config` is that of the topic, with `_` for `.`."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        _wait_for(self._admin.create_topics([NewTopic(name, partitions, len(self.nodes), config=settings)]))

    def make_topics(self, topics: Topics) -> None:
        self.make_topic(topics.records)
        self.make_topic(topics.dead_letters)
        self.make_topic(topics.state, 1, cleanup_policy="compact")

    def remove_topics(self, topics: Topics) -> None:
        """Those that are there."""
        present = self._admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        names = [name for name in (topics.records, topics.dead_letters, topics.state) if name in present]
        if names:
            self.remove_topic(*names)

    def remove_topic(self, *names: str) -> None:
        _wait_for(self._admin.delete_topics(list(names)))

    def add_partitions(self, topic: str, count: int) -> None:
        """From now on the topic has `count` partitions."""
        _wait_for(self._admin.create_partitions([NewPartitions(topic, count)]))

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """What retention does: nothing before these offsets, by partition, is kept."""
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        _wait_for(self._admin.delete_records(places))

    def configure_topic(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        _wait_for(self._admin.incremental_alter_configs([resource]))

    def leaders(self, topic: str) -> dict[int, int]:
        """Per partition the node that leads it; -1 without one."""
        found = self._admin.list_topics(topic, timeout=ADMIN_TIMEOUT_S).topics[topic]
        return {number: partition.leader for number, partition in found.partitions.items()}


def _wait_for(futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(ADMIN_TIMEOUT_S)


@contextmanager
def one_node(folder: Path) -> Iterator[Kafka]:
    """A node with a second listener that is advertised as the proxy's port."""
    ports = Ports(free_port(), free_port())
    behind_proxy = free_port()
    with Proxy(behind_proxy) as proxy:
        overrides = {
            "listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},PROXIED://{LOOPBACK}:{behind_proxy},"
            f"CONTROLLER://{LOOPBACK}:{ports.controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},PROXIED://{LOOPBACK}:{proxy.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
        node = Broker.prepare(folder / "kafka", ports, overrides=overrides)
        with _running([node]):
            yield Kafka([node], proxy)


@contextmanager
def three_nodes(folder: Path) -> Iterator[Kafka]:
    """Three copies of everything, two of them must have a record before it is confirmed."""
    ports = [Ports(free_port(), free_port()) for _node in range(NODES)]
    nodes = prepare_cluster([folder / f"kafka-{number}" for number in range(1, NODES + 1)], ports)
    with _running(nodes):
        yield Kafka(nodes)


@contextmanager
def _running(nodes: list[Broker]) -> Iterator[None]:
    with ExitStack() as stopping:
        for node in nodes:
            stopping.callback(node.stop)
            node.start()
        for node in nodes:
            node.wait_until_ready()
        yield
