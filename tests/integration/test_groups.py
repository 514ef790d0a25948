"""make groups, make reset-group: what they say and do with real groups on a real broker."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from compose.control.group_verbs import Reset, groups, reset_group
from compose.control.stack import Replica as StackReplica
from compose.control.stack import Stack
from compose.control.topology import Service
from compose.errors import OperatorError
from tests.integration.conftest import DEADLINE_S, Topics
from tests.integration.consumer_driver import assignments, committed, publish_numbers, running, until, value

OLD_S = 100


@dataclass
class BrokerStack:
    """Of a stack, what these verbs look at: a real broker, a service for each group, no replicas of its own."""

    bootstrap_servers: str
    topic: str
    sinks: Mapping[str, str] = field(default_factory=dict)

    def services(self) -> Mapping[str, Service]:
        environment = {"KAFKA_TOPIC": self.topic}
        made = {"producer": Service("producer", ("services.producer",), environment, 1, frozenset(), {})}
        for group, sink in self.sinks.items():
            environment = {"SERVICE_NAME": group, "SINK": sink}
            made[group] = Service(group, ("services.consumer",), environment, 2, frozenset(), {})
        return made

    def login(self) -> Mapping[str, str]:
        return {}

    def replicas(self) -> Sequence[StackReplica]:
        return []


def stack_of(broker: str, topics: Topics, **sinks: str) -> Stack:
    return cast("Stack", BrokerStack(broker, topics.records, sinks))


def shown(broker: str, topics: Topics, group: str | None, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The document of make groups FORMAT=json."""
    groups(stack_of(broker, topics), group, 0.5, as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def publish_at(broker: str, topic: str, partition: int, first: int, count: int, timestamp_ms: int) -> None:
    producer = Producer({"bootstrap.servers": broker})
    for number in range(first, first + count):
        producer.produce(topic, value(number), partition=partition, timestamp=timestamp_ms)
    assert producer.flush(DEADLINE_S) == 0


def commit(broker: str, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """As a client of another make that assigns by hand."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    consumer.assign(places)
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def new_group(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def no(question: str) -> bool:
    pytest.fail(f"it asked: {question}")


@pytest.mark.parametrize("topics", [2], indirect=True)
def test_groups_are_shown_as_they_stand(
    broker: str, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lag in records and in seconds, what is not known as unknown, the idle replica and why; others are counted."""
    now_ms = round(time.time() * 1000)
    publish_at(broker, topics.records, 0, 0, 50, now_ms - OLD_S * 1000)
    publish_at(broker, topics.records, 1, 50, 30, now_ms)
    behind, elsewhere, reading = new_group("behind"), new_group("elsewhere"), new_group("reading")
    commit(broker, behind, topics.records, {0: 20})
    commit(broker, elsewhere, topics.dead_letters, {0: 0})
    with running(broker, topics, tmp_path) as replicas:
        for _replica in range(3):
            replicas.start(reading)
        until(lambda: sorted(map(len, assignments(broker, reading))) == [0, 1, 1], "two have one each, one has none")
        until(lambda: sum(committed(broker, reading, topics.records).values()) == 80, "all committed")

        def settled() -> bool:
            told.update(shown(broker, topics, None, capsys))
            return any(one["group"] == reading and one["state"] == "Stable" for one in told["groups"])

        told: dict[str, Any] = {}
        until(settled, "the group is settled")
    found = {one["group"]: one for one in told["groups"]}
    assert set(found) == {behind, reading}
    assert told["groups_of_other_topics"] >= 1
    first, second = found[behind]["partitions"]
    assert (first["committed"], first["end"], first["lag"], first["rate_per_s"]) == (20, 50, 30, 0)
    assert OLD_S <= first["lag_s"] < OLD_S + 60
    assert (second["committed"], second["lag"], second["lag_s"], second["rate_per_s"]) == (None,) * 4
    assert (found[behind]["state"], found[behind]["members"], found[behind]["lag"]) == ("Empty", [], None)
    group = found[reading]
    assert (group["state"], group["lag"], group["read_by_nobody"]) == ("Stable", 0, [])
    assert [one["lag_s"] for one in group["partitions"]] == [0, 0]
    [idle] = [one for one in group["members"] if one["idle_because"]]
    assert idle["idle_because"] == "more replicas (3) than partitions (2)"
    assert {one["member"] for one in group["partitions"]} == {
        one["member"] for one in group["members"] if one["partitions"]
    }


def test_the_rate_is_that_of_the_commits(
    broker: str, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records are added while it looks."""
    group = new_group("moving")
    (tmp_path / "slow.py").write_text("import asyncio\nasync def handle(records):\n    await asyncio.sleep(0.2)\n")
    publish_numbers(broker, topics, 0, 800)
    with running(broker, topics, tmp_path) as replicas:
        replicas.start(group, {"MAX_POLL_RECORDS": "10", "HANDLER": "slow:handle", "PYTHONPATH": f".:{tmp_path}"})
        until(lambda: sum(committed(broker, group, topics.records).values()) > 0, "the first commit")
        [found] = shown(broker, topics, group, capsys)["groups"]
    assert any(one["rate_per_s"] for one in found["partitions"])
    assert all(one["rate_per_s"] is None for one in found["partitions"] if one["committed"] is None)


def test_a_group_that_is_not_there_is_unknown(broker: str, topics: Topics, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a group with no lag; and the exit code says so."""
    publish_numbers(broker, topics, 0, 8)
    assert groups(stack_of(broker, topics), "nobody-here", 0.1, as_json=False) == 1
    assert "state unknown" in capsys.readouterr().out


def test_a_group_with_members_is_not_reset(broker: str, topics: Topics, tmp_path: Path) -> None:
    """It says who they are and how to stop them."""
    group = new_group("active")
    publish_numbers(broker, topics, 0, 80)
    with running(broker, topics, tmp_path) as replicas:
        replicas.start(group)
        until(lambda: sum(committed(broker, group, topics.records).values()) == 80, "all committed")
        with pytest.raises(OperatorError, match=f"{group}-.* at .*Nothing was changed") as refused:
            reset_group(stack_of(broker, topics, **{group: "stdout"}), Reset(group, "earliest", None), no)
        assert refused.value.next_step == f"Stop it first: make scale {group}=0"
        assert sum(committed(broker, group, topics.records).values()) == 80


def test_a_member_that_joins_before_the_commit_is_not_overruled(broker: str, topics: Topics, tmp_path: Path) -> None:
    """The broker refuses what an outsider commits for a group with members."""
    group = new_group("raced")
    publish_numbers(broker, topics, 0, 80)
    commit(broker, group, topics.records, dict.fromkeys(range(8), 10))
    with running(broker, topics, tmp_path) as replicas:

        def join(_question: str) -> bool:
            replicas.start(group)
            until(lambda: any(assignments(broker, group)), "a member has partitions")
            return True

        with pytest.raises(OperatorError, match="Nothing was changed"):
            reset_group(stack_of(broker, topics), Reset(group, "earliest", None), join)
        assert committed(broker, group, topics.records) == dict.fromkeys(range(8), 10)


def test_a_group_goes_on_from_a_time(
    broker: str, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The records since then come again, and no others; a partition without any stays at its end."""
    group = new_group("again")
    now_ms = round(time.time() * 1000)
    publish_at(broker, topics.records, 0, 0, 10, now_ms - OLD_S * 1000)
    publish_at(broker, topics.records, 0, 10, 10, now_ms)
    publish_at(broker, topics.records, 1, 20, 5, now_ms - OLD_S * 1000)
    with running(broker, topics, tmp_path) as replicas:
        first = replicas.start(group)
        until(lambda: committed(broker, group, topics.records).items() >= {0: 20, 1: 5}.items(), "all committed")
        assert first.terminate() == 0
        since = datetime.fromtimestamp((now_ms - OLD_S * 500) / 1000, UTC).isoformat()
        assert (
            reset_group(stack_of(broker, topics, **{group: "stdout"}), Reset(group, since, "0,1"), lambda _: True) == 0
        )
        assert committed(broker, group, topics.records).items() >= {0: 10, 1: 5}.items()
        told = capsys.readouterr().out
        assert "10 again" in told
        assert f"make scale {group}=2" in told
        second = replicas.start(group)
        until(lambda: len(second.numbers) >= 10, "the records come again")
        until(lambda: committed(broker, group, topics.records)[0] == 20, "all committed")
        assert second.numbers == list(range(10, 20))


def test_offsets_are_clipped_to_what_is_there(broker: str, topics: Topics, capsys: pytest.CaptureFixture[str]) -> None:
    """Only of the partitions that were named, and after a yes; for a new group too. A sink of its own mind is told."""
    group = new_group("clipped")
    publish_numbers(broker, topics, 0, 80)
    stack = stack_of(broker, topics, **{group: "postgres"})
    assert reset_group(stack, Reset(group, "25", "2, 5"), lambda _: False) == 1
    assert committed(broker, group, topics.records) == {}
    assert reset_group(stack, Reset(group, "25", "2, 5"), lambda _: True) == 0
    assert committed(broker, group, topics.records) == {2: 10, 5: 10}
    told = capsys.readouterr().out
    assert "asked for 25, which is not there" in told
    assert "SINK=postgres keeps its own offsets" in told
    assert "where SINK=postgres has offsets of its own, it goes on from those" in told
    assert "goes on from there" not in told
    assert reset_group(stack, Reset(group, "earliest", "5"), lambda _: True) == 0
    assert committed(broker, group, topics.records) == {2: 10, 5: 0}
    assert reset_group(stack, Reset(group, "earliest", "5"), no) == 0, "it is there already"
    assert reset_group(stack, Reset(group, "latest", None), lambda _: True) == 0
    assert committed(broker, group, topics.records) == dict.fromkeys(range(8), 10)


def test_what_cannot_be_meant_is_refused(broker: str, topics: Topics) -> None:
    for wanted in (Reset(None, "earliest", None), Reset("g", None, None), Reset("g", "soon", None)):
        with pytest.raises(OperatorError):
            reset_group(stack_of(broker, topics), wanted, no)
    with pytest.raises(OperatorError, match="no partition"):
        reset_group(stack_of(broker, topics), Reset("g", "earliest", "8"), no)
