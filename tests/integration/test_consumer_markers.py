"""Offsets that no consumer sees: the markers that the producer's fence leaves, and what retention took."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from shared.kafka import groups
from shared.kafka.fence import raise_fence
from shared.runtime.settings import KafkaSettings
from tests.integration.archive_auditor import archived, archived_count
from tests.integration.conftest import DEADLINE_S, Topics
from tests.integration.consumer_driver import (
    Replica,
    committed,
    publish,
    publish_numbers,
    running,
    until,
    value,
)


def settings_of(broker: str, topics: Topics) -> KafkaSettings:
    return KafkaSettings(service_name="test", kafka_bootstrap_servers=broker, kafka_topic=topics.records)


def leave_markers(broker: str, topics: Topics) -> None:
    """One in every partition, as at the start of a producer's session. They are written when it returns."""
    wanted = {partition: end + 1 for partition, end in ends(broker, topics).items()}
    asyncio.run(raise_fence(settings_of(broker, topics), "test", [topics.records]))
    until(lambda: ends(broker, topics) == wanted, "the markers are written")


def ends(broker: str, topics: Topics) -> dict[int, int]:
    return asyncio.run(groups.end_offsets(settings_of(broker, topics), topics.records))


def delete_before(broker: str, topics: Topics, partition: int, offset: int) -> None:
    """What retention does."""
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    [deleted] = admin.delete_records([TopicPartition(topics.records, partition, offset)]).values()
    assert deleted.result(DEADLINE_S).low_watermark == offset


def lag_of(replica: Replica) -> int | None:
    reports = replica.events("progress")
    lag: int | None = reports[-1]["lag_records"] if reports else None
    return lag


def test_markers_are_no_records_no_loss_and_no_lag(broker: str, topics: Topics, tmp_path: Path) -> None:
    """At the beginning, in the middle, at the end; while the group reads, and while it is away."""
    for first in (0, 80):
        leave_markers(broker, topics)
        publish_numbers(broker, topics, first, 80)
    leave_markers(broker, topics)
    assert ends(broker, topics) == dict.fromkeys(range(8), 23), "ten records twice and three markers in each"
    with running(broker, topics, tmp_path) as replicas:
        reader = replicas.start("marked")
        until(lambda: reader.ready, "it has joined")
        for expected_end in (23, 24):
            until(
                lambda end=expected_end: committed(broker, "marked", topics.records) == dict.fromkeys(range(8), end),  # type: ignore[misc]
                "the end is committed",
            )
            until(lambda: lag_of(reader) == 0, "no lag")
            leave_markers(broker, topics)
        assert reader.terminate() == 0
        leave_markers(broker, topics)
        again = replicas.start("marked")
        until(lambda: committed(broker, "marked", topics.records) == ends(broker, topics), "the end is committed again")
        until(lambda: lag_of(again) == 0, "no lag")
        publish_numbers(broker, topics, 160, 80)
        until(lambda: committed(broker, "marked", topics.records) == ends(broker, topics), "and again")
        seen_by_status = asyncio.run(groups.describe_groups(settings_of(broker, topics), ["marked"], topics.records))
        assert seen_by_status[0].committed == ends(broker, topics)
        assert Counter(reader.numbers + again.numbers) == Counter(range(240))
        assert again.terminate() == 0, "what it has to tell it has told"
        assert not reader.events("offsets_missing") + again.events("offsets_missing")


FAILING_AT_13 = """
from pathlib import Path

async def handle(records):
    if not Path("healed").exists() and any(record.source.offset >= 13 for record in records):
        raise ConnectionError("no database")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_marker_behind_records_that_failed_does_not_commit_them(broker: str, topics: Topics, tmp_path: Path) -> None:
    """All is polled and the client's position is the end; yet nothing but what the handler took is committed."""
    (tmp_path / "failing.py").write_text(FAILING_AT_13)
    publish_numbers(broker, topics, 0, 10)
    leave_markers(broker, topics)
    publish_numbers(broker, topics, 10, 10)
    leave_markers(broker, topics)
    settings = {"HANDLER": "failing:handle", "SINK_RETRY_MAX_MS": "50", "MAX_POLL_RECORDS": "5"}
    with running(broker, topics, tmp_path) as replicas:
        broken = replicas.start("held", {**settings, "SINK_MAX_ATTEMPTS": "3"}, working_directory=tmp_path)
        until(lambda: bool(broken.events("sink_unavailable")), "it fails")
        until(lambda: bool(committed(broker, "held", topics.records)), "what it took is committed")
        assert broken.terminate() == 0, "it holds nothing that is done and not committed"
        assert committed(broker, "held", topics.records) == {0: 11}, "the marker between the two halves, no more"
        (tmp_path / "healed").touch()
        healed = replicas.start("held", settings, working_directory=tmp_path)
        until(lambda: committed(broker, "held", topics.records) == {0: 22}, "the end is committed")
        assert healed.terminate() == 0
        assert not healed.events("offsets_missing")
    assert Counter(map(int, (tmp_path / "seen").read_text().split())) == Counter(range(20))


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_what_retention_took_is_counted_up_to_what_is_kept(broker: str, topics: Topics, tmp_path: Path) -> None:
    """With records behind it, and with nothing but a marker left."""
    publish_numbers(broker, topics, 0, 5)
    with running(broker, topics, tmp_path) as replicas:
        before = replicas.start("late")
        until(lambda: before.ready, "it has joined")
        until(lambda: committed(broker, "late", topics.records) == {0: 5}, "committed")
        assert before.terminate() == 0
        publish_numbers(broker, topics, 5, 5)
        leave_markers(broker, topics)
        leave_markers(broker, topics)
        publish_numbers(broker, topics, 10, 5)
        delete_before(broker, topics, 0, 11)
        behind = replicas.start("late")
        until(lambda: committed(broker, "late", topics.records) == {0: 17}, "the end is committed")
        until(lambda: bool(behind.events("offsets_missing")), "the loss is told")
        [missing] = behind.events("offsets_missing")
        assert (missing["partition"], missing["before"], missing["count"]) == (0, 11, 6)
        assert behind.numbers == [*range(10, 15)]
        assert behind.terminate() == 0
        publish_numbers(broker, topics, 15, 5)
        leave_markers(broker, topics)
        delete_before(broker, topics, 0, 22)
        nothing = replicas.start("late")
        until(lambda: committed(broker, "late", topics.records) == {0: 23}, "the end is committed")
        until(lambda: bool(nothing.events("offsets_missing")), "the loss is told")
        [missing] = nothing.events("offsets_missing")
        assert (missing["partition"], missing["before"], missing["count"]) == (0, 22, 5)
        until(lambda: lag_of(nothing) == 0, "no lag")


def test_the_archive_resumes_behind_markers(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Killed between its files and its commits, with a marker before, among and behind what it wrote."""
    archive = tmp_path / "archive"
    settings = {"SINK": "archive", "ARCHIVE_DIR": str(archive), "ARCHIVE_BUFFER_BYTES": "2000"}
    with running(broker, topics, tmp_path) as replicas:
        for turn in range(2):
            leave_markers(broker, topics)
            publish(broker, topics.records, [value(number) for number in range(turn * 800, turn * 800 + 800)])
            leave_markers(broker, topics)
            victim = replicas.start("archiver", {**settings, "COMMIT_INTERVAL_MS": "60000"})
            until(lambda turn=turn: archived_count(archive) > turn * 800 + 400, "files appear")  # type: ignore[misc]
            victim.kill()
        assert not committed(broker, "archiver", topics.records), "the kills left files without commits"
        last = replicas.start("archiver", settings)
        until(lambda: committed(broker, "archiver", topics.records) == ends(broker, topics), "the end is committed")
        assert last.terminate() == 0
        assert not last.events("offsets_missing")
    assert archived(archive) == Counter(range(1600))
