"""Three brokers, three copies, two of them in sync: one may go at any moment, and all may be restarted in turn."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from compose.control.flavours import BROKERS, FLAVOURS, known_of
from compose.control.kafka_view import KafkaView
from compose.local.broker import Broker, Ports
from compose.local.nodes import prepare_cluster
from compose.local.ports import free_port
from shared.kafka.consumer import GroupReader, Membership
from shared.runtime.settings import KafkaSettings
from tests.integration.archive_auditor import archived, archived_count
from tests.integration.conftest import DEADLINE_S, PARTITION_COUNT, Topics, create_topics
from tests.integration.consumer_driver import ROOT, Replica, publish, running, until, value
from tests.integration.producer_driver import Site, audit, line, read_topic
from tests.integration.test_producer_faults import confirmed, writing

pytestmark = pytest.mark.xdist_group("cluster")
COPIES = known_of(ROOT, FLAVOURS["cluster"])
LINES_PER_S = 300
# Lines that must come through before and after each fault.
PROGRESS = 500


@dataclass
class Cluster:
    """Running nodes, and what an independent client sees of them."""

    nodes: list[Broker]
    _admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        # Kept: an admin client that is collected takes its unfinished requests with it.
        self._admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    @property
    def servers(self) -> str:
        return ",".join(node.bootstrap_servers for node in self.nodes)

    def leader(self, topic: str, partition: int = 0) -> int:
        """The number of the node that leads a partition; -1 without one."""
        return int(self._admin.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions[partition].leader)

    def layout(self, topic: str) -> dict[int, tuple[int, int]]:
        """Copies and copies in sync, by partition."""
        found = self._admin.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions
        return {number: (len(one.replicas), len(one.isrs)) for number, one in found.items()}

    def until_in_sync(self, topics: Topics) -> None:
        """As `make restart SERVICE=kafka` waits between two brokers."""
        view = KafkaView(self.servers, topics.records, {})
        until(lambda: not view.lagging_copies(), "every copy in sync")

    def make(self, wanted: NewTopic) -> None:
        create_topics(self._admin, [wanted])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    ports = [Ports(free_port(), free_port()) for _name in BROKERS]
    nodes = prepare_cluster([folder / name for name in BROKERS], ports)
    with ExitStack() as stopping:
        for node in nodes:
            # Its data goes with it; the last of three would wait a minute for the others.
            stopping.callback(node.kill)
            node.start()
        for node in nodes:
            node.wait_until_ready(DEADLINE_S)
        yield Cluster(nodes)


@pytest.fixture
def topics(cluster: Cluster) -> Topics:
    """Made by the service that makes them in the stack, with what the stack tells it of this flavour."""
    run = uuid.uuid4().hex[:8]
    made = Topics(f"records-{run}", f"dead-letters-{run}", f"state-{run}")
    environment = {
        "PATH": os.environ["PATH"],
        **COPIES,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.servers,
        "KAFKA_TOPIC": made.records,
        "KAFKA_DEAD_LETTER_TOPIC": made.dead_letters,
        "KAFKA_STATE_TOPIC": made.state,
        "KAFKA_TOPIC_PARTITIONS": str(PARTITION_COUNT),
        "HTTP_PORT": "0",
    }
    subprocess.run([sys.executable, "-m", "services.topics"], env=environment, cwd=ROOT, check=True, timeout=DEADLINE_S)
    cluster.until_in_sync(made)
    return made


def printed(replica: Replica) -> Counter[str]:
    return Counter(str(line["record"]["path"]) for line in replica.events("record"))


@dataclass
class Load:
    """A producer that follows a growing file, a group that prints, and how far both have come."""

    site: Site
    replica: Replica

    def until_more_came_through(self) -> None:
        seen, before = confirmed(self.site), len(self.replica.events("record"))
        until(lambda: confirmed(self.site) > seen + PROGRESS * len(line(0)), "more lines confirmed")
        until(lambda: len(self.replica.events("record")) > before + PROGRESS, "more records printed")


@pytest.fixture
def site(cluster: Cluster, topics: Topics, tmp_path: Path) -> Site:
    return Site(tmp_path, cluster.servers, topics, {"SOURCE_HOST": "web-1", "KAFKA_REQUEST_TIMEOUT_MS": "3000"})


def test_topics_have_a_copy_on_every_broker(cluster: Cluster, topics: Topics) -> None:
    """The state topic too. A broker may hear a moment later than another of a topic that was just made."""
    every = (topics.records, topics.dead_letters, topics.state)
    until(lambda: all(cluster.layout(topic) for topic in every), "all topics are known to the broker that is asked")
    for topic in every:
        assert set(cluster.layout(topic).values()) == {(3, 3)}


def test_a_broker_killed_under_load_loses_and_doubles_nothing(cluster: Cluster, site: Site, tmp_path: Path) -> None:
    """SIGKILL of the leader of partition 0: once in the topic, once in the archive, and printed at least once."""
    topics, archive = site.topics, tmp_path / "archive"
    with (
        running(cluster.servers, topics, tmp_path) as replicas,
        writing(site.log, LINES_PER_S) as writer,
        site.producer() as producer,
    ):
        load = Load(site, replicas.start("printing"))
        replicas.start("archiving", {"SINK": "archive", "ARCHIVE_DIR": str(archive)})
        load.until_more_came_through()
        leader = cluster.leader(topics.records)
        cluster.nodes[leader - 1].kill()
        until(lambda: cluster.leader(topics.records) not in (-1, leader), "another leader")
        load.until_more_came_through()
        cluster.nodes[leader - 1].start()
        cluster.nodes[leader - 1].wait_until_ready(DEADLINE_S)
        cluster.until_in_sync(topics)
        count = writer.finish()
        assert_all_arrived_once(load, count)
        until(lambda: archived_count(archive) >= count, "everything archived")
        assert set(archived(archive).values()) == {1}
        assert producer.terminate() == 0
    assert site.tool("audit").returncode == 0


def test_a_rolling_restart_is_not_noticed_by_the_lines(cluster: Cluster, site: Site, tmp_path: Path) -> None:
    """Each broker in turn, the next one when every copy is in sync again."""
    topics = site.topics
    with (
        running(cluster.servers, topics, tmp_path) as replicas,
        writing(site.log, LINES_PER_S) as writer,
        site.producer() as producer,
    ):
        load = Load(site, replicas.start("printing"))
        load.until_more_came_through()
        for node in cluster.nodes:
            node.stop()
            load.until_more_came_through()
            node.start()
            node.wait_until_ready(DEADLINE_S)
            cluster.until_in_sync(topics)
        load.until_more_came_through()
        assert_all_arrived_once(load, writer.finish())
        assert producer.terminate() == 0


def assert_all_arrived_once(load: Load, count: int) -> None:
    """In the topic; and the group has it all, at least once, which is what printing promises."""
    site = load.site
    until(lambda: confirmed(site) == site.log.stat().st_size, "all of the file confirmed")
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert result.exactly_once, result
    until(lambda: len(printed(load.replica)) == count, f"{count} different records printed")


class Assigned:
    """A listener that tells of its assignment."""

    def __init__(self) -> None:
        self.partitions: asyncio.Queue[frozenset[int]] = asyncio.Queue()

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        return None

    async def on_assigned(self, partitions: frozenset[int]) -> None:
        self.partitions.put_nowait(partitions)


async def test_a_reader_in_a_rack_reads_the_copy_there(cluster: Cluster) -> None:
    """Sent there by the leader; without a rack it stays with the leader. Looks at a private name of the client."""
    topic = f"racks-{uuid.uuid4().hex[:8]}"
    cluster.make(NewTopic(topic, 1, 3))
    publish(cluster.servers, topic, [value(number) for number in range(10)], partition=0)
    leader = cluster.leader(topic)
    follower = leader % 3 + 1
    for rack, expected in ((f"rack-{follower}", follower), (None, leader)):
        listener = Assigned()
        settings = KafkaSettings(service_name="racks", kafka_bootstrap_servers=cluster.servers, kafka_topic=topic)
        membership = Membership(f"racks-{rack}", "earliest", 10_000, 5_000, rack=rack)
        reader = await GroupReader.start(settings, membership, listener)
        try:
            assert await asyncio.wait_for(listener.partitions.get(), DEADLINE_S) == {0}
            found: list[int] = []
            while len(found) < 10:
                polled = await asyncio.wait_for(reader.poll(100, 0.5), DEADLINE_S)
                found += [record.offset for batch in polled.batches for record in batch.records]
            [place] = reader._client.assignment()
            assert found == [*range(10)]
            assert reader._client._fetcher._select_read_replica(place) == expected
        finally:
            await reader.stop()
