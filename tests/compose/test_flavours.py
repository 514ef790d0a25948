"""`make up KAFKA=x`, `make verify` and `make clean` for every flavour whose images can be had."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from compose.control.flavours import BROKERS, FLAVOURS, KRAFT, Flavour, host_port
from compose.local.broker import Broker, Ports
from tests.compose.stack import ROOT, TOPIC, free_ports, run
from tests.repository import Repository

PULL_TIMEOUT_S = 120.0
LINES = 300
DELIVERED = "Every line is in the topic, and every group got every record."
START_TIMEOUT_S = 60.0
TRIED = [each for each in FLAVOURS.values() if each.brokers]


@pytest.fixture
def repository(image: str, tmp_path: Path) -> Iterator[Repository]:
    """With its own project and ports; what is left of it is removed."""
    project = f"pipeline-test-{uuid.uuid4().hex[:8]}"
    named = (*(host_port(broker, 0)[0] for broker in BROKERS), "NGINX_HOST_PORT")
    ports = {name: str(port) for name, port in zip(named, free_ports(len(named)), strict=True)}
    own = {
        "MODE": "docker",
        "COMPOSE_PROJECT_NAME": project,
        "PIPELINE_IMAGE": image,
        "YES": "1",
        "CONSUMER_REPLICAS": "1",
        "LINES": str(LINES),
        **ports,
    }
    made = Repository.copied_to(tmp_path, own)
    yield made
    made.verb("clean")
    assert not run(["docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}"], {})


def require_images(flavour: Flavour) -> None:
    """Skips with the reason when an image is neither here nor to be had."""
    document = yaml.safe_load((ROOT / "compose" / "brokers" / f"{flavour.name}.yaml").read_text())
    base = yaml.safe_load((ROOT / "compose" / "brokers" / "base.yaml").read_text())["services"]
    services = document["services"].values()
    for image in sorted({one.get("image") or base[one["extends"]["service"]]["image"] for one in services}):
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0:
            continue
        try:
            pulled = subprocess.run(["docker", "pull", image], capture_output=True, text=True, timeout=PULL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"KAFKA={flavour.name}: {image} did not come within {PULL_TIMEOUT_S:g} s")
        if pulled.returncode != 0:
            pytest.skip(f"KAFKA={flavour.name}: {image} cannot be had: {pulled.stderr.strip().splitlines()[-1]}")


@pytest.mark.parametrize("flavour", TRIED, ids=lambda each: each.name)
def test_each_flavour_delivers_every_line_once(flavour: Flavour, repository: Repository) -> None:
    """Up, lines through the whole stack, another flavour refused on its data, and gone again."""
    require_images(flavour)
    started = repository.succeeds("up", KAFKA=flavour.name)
    assert f"KAFKA={flavour.name}" in started
    assert DELIVERED in repository.succeeds("verify")
    if flavour.name == "cluster":
        lose_a_broker_and_restart_all(repository)
    refused = repository.verb("up", KAFKA="confluent" if flavour.name == KRAFT else KRAFT)
    assert refused.returncode == 1
    assert f"belongs to KAFKA={flavour.name}" in refused.stdout + refused.stderr
    repository.succeeds("clean")
    assert_nothing_is_left(repository)


def assert_nothing_is_left(repository: Repository) -> None:
    project = repository.variables["COMPOSE_PROJECT_NAME"]
    for kind in ("volume", "network"):
        assert not run(["docker", kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}"], {})


def lose_a_broker_and_restart_all(repository: Repository) -> None:
    """Three copies of which two must have a record; one broker is killed and comes back, then each is restarted."""
    servers = ",".join(f"127.0.0.1:{repository.variables[host_port(broker, 0)[0]]}" for broker in BROKERS)
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    partitions = admin.list_topics(TOPIC, timeout=START_TIMEOUT_S).topics[TOPIC].partitions.values()
    assert {len(partition.replicas) for partition in partitions} == {3}
    [described] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, TOPIC)]).values()
    assert described.result(START_TIMEOUT_S)["min.insync.replicas"].value == "2"
    killed = f"{repository.variables['COMPOSE_PROJECT_NAME']}-kafka-2-1"
    run(["docker", "kill", killed], {})
    assert DELIVERED in repository.succeeds("verify")
    run(["docker", "start", killed], {})
    repository.succeeds("restart", SERVICE="kafka")
    assert DELIVERED in repository.succeeds("verify")


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of this machine at an address that containers reach too: that of the engine's bridge."""
    asked = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    gateway = run(asked, {}).strip()
    port, controller = free_ports(2)
    door = f"PLAINTEXT://{gateway}:{port}"
    doors = {"listeners": f"{door},CONTROLLER://127.0.0.1:{controller}", "advertised.listeners": door}
    broker = Broker.prepare(tmp_path_factory.mktemp("own"), Ports(port, controller), overrides=doors)
    broker.start()
    try:
        AdminClient({"bootstrap.servers": f"{gateway}:{port}", "log_level": 0}).list_topics(timeout=START_TIMEOUT_S)
        yield f"{gateway}:{port}"
    finally:
        broker.kill()


def test_a_cluster_of_yours_is_reached_from_the_containers(repository: Repository, own_cluster: str) -> None:
    """No broker is started beside it; where it does not answer, nothing is built."""
    nobody = f"{own_cluster.partition(':')[0]}:{free_ports(1)[0]}"
    refused = repository.verb("up", KAFKA_BOOTSTRAP_SERVERS=nobody)
    assert f"KAFKA_BOOTSTRAP_SERVERS={nobody}: no answer" in refused.stdout + refused.stderr
    assert_nothing_is_left(repository)
    started = repository.succeeds("up", KAFKA_BOOTSTRAP_SERVERS=own_cluster)
    assert "KAFKA=external" in started
    assert DELIVERED in repository.succeeds("verify")
    repository.succeeds("clean")
    assert_nothing_is_left(repository)
