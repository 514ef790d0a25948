"""Readiness, and the documentation of metrics, events and the example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from services.consumer.metrics import Metrics
from services.consumer.readiness import Obstacle, Readiness
from services.consumer.settings import ConsumerSettings
from shared.runtime.http import Health

ROOT = Path(__file__).parents[3]


def test_an_obstacle_is_logged_when_it_comes_and_when_it_goes() -> None:
    health, counted = Health(lambda: 0.0, 1.0), list[str]()
    with structlog.testing.capture_logs() as lines:
        readiness = Readiness(health, structlog.get_logger(), lambda: 0.0, counted.append)
        for _ in range(3):
            readiness.block(Obstacle.BROKER, "no answer")
            readiness.block(Obstacle.SINK, "disk full")
        assert health.not_ready_because == "broker: no answer; sink: disk full"
        readiness.clear(Obstacle.BROKER)
        assert not health.ready
        readiness.clear(Obstacle.SINK)
        readiness.clear(Obstacle.SINK)
    assert health.ready
    assert [line["event"] for line in lines] == [
        "broker_unavailable",
        "sink_unavailable",
        "broker_available",
        "sink_available",
    ]
    assert counted == [Obstacle.BROKER, Obstacle.SINK]


def test_joining_the_group_is_no_error() -> None:
    health, counted = Health(lambda: 0.0, 1.0), list[str]()
    with structlog.testing.capture_logs() as lines:
        readiness = Readiness(health, structlog.get_logger(), lambda: 0.0, counted.append)
        readiness.block(Obstacle.GROUP, "joining")
        assert not health.ready
        readiness.clear(Obstacle.GROUP)
    assert health.ready
    assert not lines
    assert not counted


def settings(**given: Any) -> ConsumerSettings:
    return ConsumerSettings(**given)


def test_the_group_is_the_service_unless_told_otherwise() -> None:
    assert settings(service_name="a").group_id == "a"
    assert settings(service_name="a", kafka_group_id="b").group_id == "b"
    alone = settings(kafka_group_id="b")
    assert (alone.service_name, alone.group_id) == ("b", "b")


def test_a_handler_alone_chooses_its_sink() -> None:
    assert settings(service_name="a").sink_name == "stdout"
    assert settings(service_name="a", handler="m:f").sink_name == "handler"


def documented(file: str, service: str) -> set[str]:
    """The names in the first column of the rows whose service column names the service."""
    rows = [line.split("|") for line in (ROOT / "docs" / file).read_text().splitlines() if line.startswith("| `")]
    return {row[1].strip(" `") for row in rows if any(service in cell.split(", ") for cell in map(str.strip, row))}


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    Metrics(registry, "group", "topic")
    suffix = {"counter": "_total"}
    assert documented("metrics.md", "consumer") == {
        family.name + suffix.get(family.type, "") for family in registry.collect()
    }


def test_every_event_is_documented() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "services" / "consumer").rglob("*.py"))
    logged = set(re.findall(r"(?:log|get_logger\(\))\.(?:info|warning|error)[(,]\s*\"(\w+)\"", sources))
    logged |= {
        f"{obstacle}_{change}"
        for obstacle in Obstacle
        if obstacle is not Obstacle.GROUP
        for change in ("unavailable", "available")
    }
    assert logged <= documented("events.md", "consumer")


def test_the_example_is_short() -> None:
    example = ROOT / "services" / "consumer" / "examples" / "errors_only.py"
    assert len(example.read_text().splitlines()) < 20
