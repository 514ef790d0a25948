"""The archive on a real broker, with real processes that are killed, stopped, and that find no room."""

from __future__ import annotations

import fcntl
import resource
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.archive_auditor import archived, archived_count, misplaced_rows
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    Replica,
    committed,
    publish,
    running,
    until,
    value,
)

SMALL_BUFFER = {"SINK": "archive", "ARCHIVE_BUFFER_BYTES": "20000"}
HOURS = 3


def at_some_hour(number: int) -> bytes:
    """A record whose event time depends on its number: neighbours are of different hours, some of them late."""
    begin = datetime(2026, 11, 22, 12, tzinfo=UTC)
    time = begin + timedelta(hours=number % HOURS, milliseconds=number)
    return value(number).replace(b"2015-05-17T10:05:03Z", time.isoformat().replace("+00:00", "Z").encode())


def publish_some(broker: str, topics: Topics, numbers: Sequence[int]) -> None:
    publish(broker, topics.records, [at_some_hour(number) for number in numbers], over=topics.partition_count)


def all_committed(broker: str, topics: Topics, count: int) -> None:
    until(lambda: sum(committed(broker, "archiver", topics.records).values()) == count, "all is committed")


def audit(directory: Path, count: int) -> None:
    assert archived(directory) == Counter(range(count))
    assert misplaced_rows(directory) == 0
    assert not list(directory.glob("*/.*.tmp"))


def test_each_record_is_archived_once_after_sigkill_under_load(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Killed five times while it writes and merges; files and commits are apart each time, and joined by the next."""
    directory = tmp_path / "archive"
    uncommitted = {
        **SMALL_BUFFER,
        "ARCHIVE_DIR": str(directory),
        "ARCHIVE_COMPACT_AFTER_S": "0.001",
        "COMMIT_INTERVAL_MS": "60000",
    }
    with running(broker, topics, tmp_path) as replicas:
        for turn in range(5):
            publish_some(broker, topics, range(turn * 2000, turn * 2000 + 2000))
            # Of every second one the commits are known, so that the next one does not begin at the beginning.
            settings = uncommitted if turn % 2 else {**uncommitted, "COMMIT_INTERVAL_MS": "50"}
            victim = replicas.start("archiver", settings)
            until(lambda turn=turn: archived_count(directory) > turn * 2000 + 700, "files appear")  # type: ignore[misc]
            victim.kill()
        last = replicas.start("archiver", {**uncommitted, "COMMIT_INTERVAL_MS": "200"})
        until(lambda: bool(last.events("partitions_assigned")), "it takes over")  # there may be nothing left to commit
        all_committed(broker, topics, 10_000)
        assert last.terminate() == 0
    audit(directory, 10_000)


def test_hours_that_are_quiet_are_merged_under_load(broker: str, topics: Topics, tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    settings = {**SMALL_BUFFER, "ARCHIVE_DIR": str(directory), "ARCHIVE_COMPACT_AFTER_S": "0.01"}
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("archiver", {**settings, "COMMIT_INTERVAL_MS": "50"})
        for begin in range(0, 3000, 100):
            publish_some(broker, topics, range(begin, begin + 100))
        all_committed(broker, topics, 3000)
        assert replica.terminate() == 0
        assert not replica.events("archive_merge_failed")
    audit(directory, 3000)
    assert len(list(directory.rglob("p0-*.parquet"))) < 30


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_an_archiver_that_was_stopped_past_its_session_doubles_nothing(
    broker: str, topics: Topics, tmp_path: Path
) -> None:
    """It has archived some, committed nothing and holds the rest; another one archives and commits all; it wakes."""
    directory = tmp_path / "archive"
    settings = {"SINK": "archive", "ARCHIVE_DIR": str(directory)}
    holding = {"COMMIT_INTERVAL_MS": "600000", "MAX_POLL_RECORDS": "100", "ARCHIVE_BUFFER_BYTES": "150000"}
    publish_some(broker, topics, range(1000))
    with running(broker, topics, tmp_path) as replicas:
        zombie = replicas.start("archiver", {**settings, **holding})
        until(lambda: any(line["processed"] == 1000 for line in zombie.events("progress")), "it has taken all")
        zombie.process.send_signal(signal.SIGSTOP)
        assert 0 < archived_count(directory) < 1000
        assert not committed(broker, "archiver", topics.records)
        heir = replicas.start("archiver", settings)
        all_committed(broker, topics, 1000)
        zombie.process.send_signal(signal.SIGCONT)
        until(lambda: bool(zombie.events("ownership_lost")), "it notices")
        # With what is its own again, or not: the partition may be given to either of the two.
        assert zombie.terminate() == 0
        publish_some(broker, topics, range(1000, 1200))
        all_committed(broker, topics, 1200)
        assert heir.terminate() == 0
    audit(directory, 1200)


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_member_stopped_inside_the_lock_is_waited_for_and_named(broker: str, topics: Topics, tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("archiver", {"SINK": "archive", "ARCHIVE_DIR": str(directory)})
        publish_some(broker, topics, range(100))
        all_committed(broker, topics, 100)
        with (directory / topics.records / ".p0.lock").open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            publish_some(broker, topics, range(100, 200))
            until(lambda: bool(replica.events("sink_unavailable")), "it waits")
            assert ".p0.lock is locked by another process" in replica.events("sink_unavailable")[0]["error"]
        all_committed(broker, topics, 200)
        assert replica.terminate() == 0
    audit(directory, 200)


def limit_files(replica: Replica, size_bytes: int) -> None:
    """Of what the process writes from now on no file may become larger: as with a full disk, in the middle of it."""
    resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_disk_that_is_full_in_the_middle_of_a_file_loses_and_doubles_nothing(
    broker: str, topics: Topics, tmp_path: Path
) -> None:
    directory = tmp_path / "archive"
    with running(broker, topics, tmp_path) as replicas:
        settings = {"SINK": "archive", "ARCHIVE_DIR": str(directory), "SINK_RETRY_MAX_MS": "200"}
        replica = replicas.start("archiver", settings)
        publish_some(broker, topics, range(500))
        all_committed(broker, topics, 500)
        limit_files(replica, 6000)
        publish_some(broker, topics, range(500, 3000))
        until(lambda: not replica.ready and bool(replica.events("sink_unavailable")), "it waits")
        assert archived(directory) == Counter(range(500))
        limit_files(replica, resource.RLIM_INFINITY)
        all_committed(broker, topics, 3000)
        assert replica.terminate() == 0
    audit(directory, 3000)
