"""Who gets what: groups each get everything, the replicas of a group share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Topics
from tests.integration.consumer_driver import assignments, committed, publish_numbers, running, until


def test_every_group_gets_every_record(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Also what was published before the group first came."""
    early = publish_numbers(broker, topics, 0, 400)
    with running(broker, topics, tmp_path) as replicas:
        one, two = replicas.start("one"), replicas.start("two")
        until(lambda: one.ready and two.ready, "both are ready")
        late = publish_numbers(broker, topics, 400, 400)
        until(lambda: len(one.numbers) == len(two.numbers) == 800, "both have all")
        assert sorted(one.numbers) == sorted(two.numbers) == [*early, *late]


def test_replicas_share_the_partitions(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Four replicas, eight partitions: two each, nobody's twice, and each record at one of them."""
    with running(broker, topics, tmp_path) as replicas:
        four = [replicas.start("shared") for _ in range(4)]
        until(lambda: all(one.ready for one in four), "all are ready")
        until(lambda: [len(one.owns or ()) for one in four] == [2, 2, 2, 2], "two partitions each")
        seen_by_broker = assignments(broker, "shared")
        assert sorted(number for owned in seen_by_broker for number in owned) == list(range(8))
        assert set(seen_by_broker) == {one.owns for one in four}
        numbers = publish_numbers(broker, topics, 0, 800)
        until(lambda: sum(len(one.numbers) for one in four) >= 800, "all arrived")
        assert Counter(number for one in four for number in one.numbers) == Counter(numbers)
        assert all(one.numbers for one in four)


@pytest.mark.parametrize("topics", [2], indirect=True)
def test_a_replica_without_partitions_is_ready_and_takes_over(broker: str, topics: Topics, tmp_path: Path) -> None:
    with running(broker, topics, tmp_path) as replicas:
        three = [replicas.start("crowd") for _ in range(3)]
        until(lambda: sorted(len(one.owns if one.owns is not None else "?") for one in three) == [0, 1, 1], "0, 1, 1")
        until(lambda: all(one.ready for one in three), "the idle one is ready as well")
        [idle] = [one for one in three if not one.owns]
        until(lambda: bool(idle.events("progress")), "the idle one reports")
        assert idle.events("progress")[-1]["lag_records"] is None
        busy = next(one for one in three if one.owns)
        assert busy.terminate() == 0
        until(lambda: len(idle.owns or ()) == 1, "the idle one has taken over")
        publish_numbers(broker, topics, 0, 100)
        until(lambda: sum(len(one.numbers) for one in three) == 100, "all arrived")
        assert idle.numbers


def test_lag_is_reported_and_falls_to_zero(broker: str, topics: Topics, tmp_path: Path) -> None:
    publish_numbers(broker, topics, 0, 200)
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("lagging")
        until(lambda: any(one["lag_records"] == 0 for one in replica.events("progress")), "no lag")
        last = replica.events("progress")[-1]
        assert (last["processed"], last["partitions"], last["in_flight"]) == (200, list(range(8)), 0)
        until(lambda: sum(committed(broker, "lagging", topics.records).values()) == 200, "all committed")
