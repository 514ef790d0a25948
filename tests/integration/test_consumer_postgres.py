"""SINK=postgres from end to end: real consumers that die, sleep and come back, a real broker, a real database.

Every test is audited by SQL: of each partition every offset is there, once, with the record that the topic has there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.commit_cutter import Cut, cutting_commits
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    Replica,
    assignments,
    committed,
    publish,
    publish_numbers,
    read_all,
    running,
    until,
)
from tests.postgres_server import PostgresServer, TestDatabase

GROUP = "writer"
SETTINGS = {"POSTGRES_BUFFER_RECORDS": "300", "SINK_RETRY_MAX_MS": "200"}


def count_stored(database: TestDatabase) -> int:
    """0 before the table is there."""
    if database.query("SELECT to_regclass('access_log') IS NULL") == [(True,)]:
        return 0
    return int(database.query("SELECT count(*) FROM access_log")[0][0])


def audit(database: TestDatabase, topics: Topics, count: int) -> None:
    """Numbers were published in turn to the partitions: number = offset * partitions + partition."""
    rows = database.query(
        "SELECT kafka_partition, count(*), count(DISTINCT kafka_offset), min(kafka_offset), max(kafka_offset), "
        "count(*) FILTER (WHERE source_offset <> kafka_offset * $1 + kafka_partition) "
        "FROM access_log GROUP BY kafka_partition ORDER BY kafka_partition",
        topics.partition_count,
    )
    each = count // topics.partition_count
    assert rows == [(number, each, each, 0, each - 1, 0) for number in range(topics.partition_count)]
    # From one transaction to the next the offsets of a partition rise: nothing was put in between. Within one, rows may
    # stand anywhere: a table is filled where it has room.
    fell = database.query(
        "SELECT count(*) FROM (SELECT kafka_offset - lag(kafka_offset) OVER "
        "(PARTITION BY kafka_partition ORDER BY xmin::text::bigint, kafka_offset) AS step FROM access_log) AS steps "
        "WHERE step <> 1"
    )
    assert fell == [(0,)]
    stored = database.query("SELECT partition, next_offset FROM access_log_offsets ORDER BY partition")
    assert stored == [(number, each) for number in range(topics.partition_count)]


def all_committed(broker: str, topics: Topics, count: int) -> None:
    """And what is committed is never ahead of what is stored, as `audit` shows."""
    until(lambda: sum(committed(broker, GROUP, topics.records).values()) == count, "all committed")


class Load:
    """Publishes blocks of numbers, one after the other, until it is told to stop."""

    BLOCK = 800

    def __init__(self, broker: str, topics: Topics) -> None:
        self._broker = broker
        self._topics = topics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def _run(self) -> None:
        while not self._stopping.is_set():
            publish_numbers(self._broker, self._topics, self.count, self.BLOCK)
            self.count += self.BLOCK
            self._stopping.wait(0.1)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def load(broker: str, topics: Topics) -> Iterator[Load]:
    """Under way for as long as the context is open."""
    one = Load(broker, topics)
    one._thread.start()
    try:
        yield one
    finally:
        one.stop()


def until_more(database: TestDatabase, more: int = 1000) -> None:
    """Work goes on: so many records are stored from now."""
    before = count_stored(database)
    until(lambda: count_stored(database) >= before + more, f"{more} more records are stored")


def sinks_failed(replica: Replica) -> int:
    return len(replica.events("sink_unavailable"))


@pytest.fixture
def settings(database: TestDatabase) -> Mapping[str, str]:
    return {**database.settings, **SETTINGS}


def test_five_kills_under_load_lose_and_double_nothing(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """Nothing is committed before the end: each heir knows where to begin from the table alone."""
    uncommitted = {**settings, "COMMIT_INTERVAL_MS": "60000"}
    with running(broker, topics, tmp_path) as replicas:
        with load(broker, topics) as publishing:
            for _ in range(5):
                victim = replicas.start(GROUP, uncommitted)
                until_more(database)
                victim.kill()
            assert not committed(broker, GROUP, topics.records)
        last = replicas.start(GROUP, settings)
        all_committed(broker, topics, publishing.count)
        assert last.terminate() == 0
    audit(database, topics, publishing.count)


def test_replicas_that_come_and_go_double_nothing(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """From one to three and back, under load; two of them share the table all the time."""
    with running(broker, topics, tmp_path) as replicas:
        with load(broker, topics) as publishing:
            first = replicas.start(GROUP, settings)
            until_more(database)
            others = [replicas.start(GROUP, settings) for _ in range(2)]
            until(lambda: sorted(map(len, assignments(broker, GROUP))) == [2, 3, 3], "three share the partitions")
            until_more(database)
            assert [other.terminate() for other in others] == [0, 0]
            until(lambda: first.owns == frozenset(range(8)), "one has them all again")
            until_more(database)
        all_committed(broker, topics, publishing.count)
        assert first.terminate() == 0
    audit(database, topics, publishing.count)


def test_a_zombie_that_wakes_stores_nothing(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """Stopped with records in its memory for longer than its session, while its heir stores them."""
    holding = {"COMMIT_INTERVAL_MS": "60000", "POSTGRES_BUFFER_RECORDS": "1000000"}
    with running(broker, topics, tmp_path) as replicas:
        with load(broker, topics) as publishing:
            heir = replicas.start(GROUP, settings)
            until_more(database)
            zombie = replicas.start(GROUP, {**settings, **holding})
            until(lambda: len(heir.owns or ()) == len(zombie.owns or ()) == 4, "both share the partitions")
            until(lambda: processed(zombie) >= 1000, "the zombie holds records")
            its = sorted(zombie.owns or ())
            before = stored_of(database, its)
            os.kill(zombie.process.pid, signal.SIGSTOP)
            until(lambda: heir.owns == frozenset(range(8)), "the heir has them all")
            until(lambda: stored_of(database, its) >= before + 1000, "the heir has stored what the zombie holds")
            os.kill(zombie.process.pid, signal.SIGCONT)
            until(lambda: tried_and_failed(zombie), "the zombie has tried to store it")
            until(lambda: zombie.ready and len(zombie.owns or ()) == 4, "the zombie has joined again")
        assert zombie.terminate() == 0
        all_committed(broker, topics, publishing.count)
        assert heir.terminate() == 0
    audit(database, topics, publishing.count)


def processed(replica: Replica) -> int:
    """Records that its sink has taken."""
    told = replica.events("progress")
    return told[-1]["processed"] if told else 0


def stored_of(database: TestDatabase, partitions: Sequence[int]) -> int:
    count = "SELECT count(*) FROM access_log WHERE kafka_partition = ANY($1::integer[])"
    return int(database.query(count, partitions)[0][0])


def tried_and_failed(zombie: Replica) -> bool:
    return any("another member has stored" in str(line.get("error")) for line in zombie.lines)


def test_a_database_that_is_killed_under_load_costs_nothing_but_time(
    broker: str,
    topics: Topics,
    database: TestDatabase,
    postgres_server: PostgresServer,
    settings: Mapping[str, str],
    tmp_path: Path,
) -> None:
    with running(broker, topics, tmp_path) as replicas:
        with load(broker, topics) as publishing:
            replica = replicas.start(GROUP, settings)
            for turn in range(1, 4):
                until_more(database)
                postgres_server.kill()
                until(lambda turn=turn: sinks_failed(replica) >= turn, "it is noticed")  # type: ignore[misc]
                assert not replica.ready
                postgres_server.start()
                until(lambda: replica.ready, "it works again")
        all_committed(broker, topics, publishing.count)
        assert replica.terminate() == 0
    audit(database, topics, publishing.count)


def test_a_replica_that_gets_its_partitions_while_the_database_is_away_waits(
    broker: str,
    topics: Topics,
    database: TestDatabase,
    postgres_server: PostgresServer,
    settings: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """It stays in the group: one that left and joined again would disturb the others each time."""
    publish_numbers(broker, topics, 0, 800)
    with running(broker, topics, tmp_path) as replicas:
        first = replicas.start(GROUP, settings)
        all_committed(broker, topics, 800)
        postgres_server.kill()
        publish_numbers(broker, topics, 800, 800)
        until(lambda: sinks_failed(first) == 1, "it is noticed")
        second = replicas.start(GROUP, settings)
        until(lambda: len(first.owns or ()) == len(second.owns or ()) == 4, "both share the partitions")
        until(lambda: sinks_failed(second) == 1, "it is noticed")
        joined = [len(one.events("partitions_assigned")) for one in (first, second)]
        until(lambda: len(second.events("progress")) >= 6, "some time has passed")
        assert [len(one.events("partitions_assigned")) for one in (first, second)] == joined
        postgres_server.start()
        all_committed(broker, topics, 1600)
        assert first.terminate() == second.terminate() == 0
    audit(database, topics, 1600)


def test_a_restart_sets_nothing_aside_again(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """The stored offsets cover what is no record, too: by them reading goes on."""
    publish_numbers(broker, topics, 0, topics.partition_count)
    with running(broker, topics, tmp_path) as replicas:
        first = replicas.start(GROUP, settings)
        all_committed(broker, topics, topics.partition_count)
        publish(broker, topics.records, [b"nonsense"] * 3, partition=0)
        all_committed(broker, topics, topics.partition_count + 3)
        first.kill()
        publish_numbers(broker, topics, topics.partition_count, topics.partition_count)
        second = replicas.start(GROUP, settings)
        all_committed(broker, topics, 2 * topics.partition_count + 3)
        assert second.terminate() == 0
        assert not second.events("records_dead_lettered")
    read_all(broker, topics.dead_letters, 3, topics.partition_count)
    assert count_stored(database) == 2 * topics.partition_count


def test_commits_that_nobody_hears_of_double_nothing(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    with running(broker, topics, tmp_path) as replicas, cutting_commits(database.server.port) as cutter:
        through = {**settings, "POSTGRES_URL": database.server.url(database.name, port=cutter.port)}
        with load(broker, topics) as publishing:
            replica = replicas.start(GROUP, through)
            until_more(database)
            cuts = [Cut.AFTER, Cut.BEFORE, Cut.AFTER, Cut.AFTER, Cut.BEFORE]
            for number, cut in enumerate(cuts, start=1):
                cutter.cuts.append(cut)
                until(lambda number=number: len(cutter.done) == number, "a commit is cut")  # type: ignore[misc]
                until_more(database)
        all_committed(broker, topics, publishing.count)
        assert cutter.done == cuts
        assert sinks_failed(replica) >= 1
        assert replica.terminate() == 0
    audit(database, topics, publishing.count)


def test_a_database_that_hangs_is_noticed_and_survived(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """The replica stays alive and in the group meanwhile."""
    with running(broker, topics, tmp_path) as replicas:
        with load(broker, topics) as publishing:
            replica = replicas.start(GROUP, {**settings, "POSTGRES_TIMEOUT_MS": "1000"})
            until_more(database)
            database.server.signal_all(signal.SIGSTOP)
            try:
                until(lambda: sinks_failed(replica) >= 1, "it is noticed")
                assert replica.ask("/livez") == 200
                assert not replica.ready
            finally:
                database.server.signal_all(signal.SIGCONT)
            until(lambda: replica.ready, "it works again")
            until_more(database)
        all_committed(broker, topics, publishing.count)
        assert len(replica.events("partitions_assigned")) == 1
        assert replica.terminate() == 0
    audit(database, topics, publishing.count)


def test_a_topic_made_anew_ends_the_service_and_says_what_to_do(
    broker: str, topics: Topics, database: TestDatabase, settings: Mapping[str, str], tmp_path: Path
) -> None:
    """The stored offsets lie behind the end of the partitions."""
    publish_numbers(broker, topics, 0, 80)
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start(GROUP, settings)
        all_committed(broker, topics, 80)
        assert replica.terminate() == 0
        database.query("UPDATE access_log_offsets SET next_offset = 5000")
        publish_numbers(broker, topics, 80, 80)
        replica = replicas.start(GROUP, settings)
        assert replica.process.wait(60) == 1
        [failure] = replica.events("service_failed")
        assert "it was made anew, or has lost records. Set POSTGRES_TABLE" in failure["error"]
    assert count_stored(database) == 80
