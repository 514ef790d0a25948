"""`make up KAFKA=x`, `make verify` and `make clean` for every flavour whose images can be had."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from compose.control.flavours import EXTERNAL, FLAVOURS, KRAFT, Flavour, host_port
from tests.compose.stack import ROOT, free_ports, run
from tests.repository import Repository

PULL_TIMEOUT_S = 120.0
LINES = 300
# The default is what the other tests of this folder run; a cluster of yours has no images.
TRIED = [each for each in FLAVOURS.values() if each.name not in (KRAFT, EXTERNAL)]


@pytest.fixture
def repository(image: str, tmp_path: Path) -> Iterator[Repository]:
    """With its own project and ports; what is left of it is removed."""
    project = f"pipeline-test-{uuid.uuid4().hex[:8]}"
    brokers = FLAVOURS["cluster"].brokers
    named = (*(host_port(broker, 0)[0] for broker in brokers), "NGINX_HOST_PORT")
    ports = {name: str(port) for name, port in zip(named, free_ports(len(named)), strict=True)}
    own = {
        "MODE": "docker",
        "COMPOSE_PROJECT_NAME": project,
        "PIPELINE_IMAGE": image,
        "YES": "1",
        "CONSUMER_REPLICAS": "1",
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
    verified = repository.succeeds("verify", LINES=str(LINES))
    assert "Every line is in the topic, and every group got every record." in verified
    refused = repository.verb("up", KAFKA=KRAFT)
    assert refused.returncode == 1
    assert f"belongs to KAFKA={flavour.name}" in refused.stdout + refused.stderr
    project = repository.variables["COMPOSE_PROJECT_NAME"]
    repository.succeeds("clean")
    for kind in ("volume", "network"):
        assert not run(["docker", kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}"], {})
