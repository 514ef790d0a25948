"""The archive sink: which files it writes, what it passes over, refuses and merges."""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.consumer.archive import partition as partition_module
from services.consumer.archive.columns import SCHEMA, rows_by_hour
from services.consumer.archive.find import lines_holding
from services.consumer.archive.layout import Span, folder_name, hour_named, hour_of, microseconds_of, run_to_merge
from services.consumer.decode import DecodedBatch, decode
from services.consumer.sinks.archive import ArchiveSink
from shared import durable
from shared.errors import FatalError, RecordsRejected, SinkUnavailable
from shared.schemas import AccessRecord
from shared.schemas.access_record import Details, Upstream
from tests.unit.consumer.archive_files import as_archived, at_hours, files, numbers, query
from tests.unit.consumer.records import TOPIC, batch, received, value


async def archive(directory: Path, buffer_bytes: int = 10_000_000, compact_after_s: float = 0) -> ArchiveSink:
    sink = ArchiveSink(directory, buffer_bytes, compact_after_s)
    await sink.open()
    await sink.resume(TOPIC, [3])
    return sink


async def filled(directory: Path, *batches: DecodedBatch, compact_after_s: float = 0) -> ArchiveSink:
    sink = await archive(directory, compact_after_s=compact_after_s)
    for one in batches:
        await sink.write(one)
        await sink.flush()
    return sink


def other(first: int, count: int) -> DecodedBatch:
    """As of a topic that was made anew: the offsets are known, the lines are not."""
    values: list[bytes | None] = [value(1_000_000 + number) for number in range(count)]
    return decode(received(values, first), "group", "service")


async def test_a_file_is_named_by_its_hour_and_offsets(tmp_path: Path) -> None:
    sink = await archive(tmp_path)
    await sink.write(at_hours(42, [10] * 10))
    assert not files(tmp_path)
    await sink.flush()
    [path] = (tmp_path / TOPIC).rglob("*.parquet")
    name = "p3-00000000000000000042-00000000000000000051.parquet"
    assert path.relative_to(tmp_path / TOPIC) == Path("date=2015-05-17/hour=10", name)
    about = pq.read_metadata(path).metadata
    assert [about[name] for name in (b"topic", b"partition", b"first_offset", b"last_offset", b"layout")] == [
        TOPIC.encode(),
        b"3",
        b"42",
        b"51",
        b"1",
    ]


async def test_one_flush_writes_a_file_of_the_same_offsets_for_each_hour(tmp_path: Path) -> None:
    await filled(tmp_path, at_hours(0, [10, 11, None, 10, 9]), at_hours(5, [11]))
    assert files(tmp_path) == ["hour=09 0-4", "hour=10 0-4", "hour=11 0-4", "hour=11 5-5"]


async def test_only_what_is_missing_of_an_hour_is_written(tmp_path: Path) -> None:
    """The process was killed between the files of one flush, and the next one reads in other batches."""
    await filled(tmp_path, at_hours(0, [10, 11, 10, 11, 10, 11]))
    [lost] = (tmp_path / TOPIC).rglob("hour=11/*.parquet")
    lost.unlink()
    await filled(tmp_path, at_hours(0, [10, 11, 10, 11]), at_hours(4, [10, 11, 10, 11]))
    assert files(tmp_path) == ["hour=10 0-5", "hour=10 6-7", "hour=11 0-3", "hour=11 4-7"]
    assert numbers(tmp_path) == Counter(range(8))


async def test_two_owners_of_one_partition_do_not_archive_an_offset_twice(tmp_path: Path) -> None:
    """One was stopped for longer than its session and does not know it yet."""
    zombie, heir = await filled(tmp_path, batch(0, 5)), await archive(tmp_path)
    await zombie.write(batch(5, 10))
    await heir.write(batch(5, 15))
    await heir.flush()
    await zombie.flush()
    await heir.write(batch(20, 5))
    await heir.flush()
    assert files(tmp_path) == ["hour=10 0-4", "hour=10 20-24", "hour=10 5-19"]
    assert numbers(tmp_path) == Counter(range(25))


async def test_a_full_buffer_is_written_early(tmp_path: Path) -> None:
    sink = await archive(tmp_path, buffer_bytes=1)
    await sink.write(batch(0, 5))
    await sink.write(batch(5, 5))
    assert files(tmp_path) == ["hour=10 0-4"]


async def test_many_small_batches_are_held_as_few(tmp_path: Path) -> None:
    """What a batch costs besides its rows would else fill the memory."""
    sink = await archive(tmp_path)
    for number in range(300):
        await sink.write(batch(number, 1))
    [held] = sink._partitions[3]._rows.values()
    assert len(held) < partition_module.MAX_HELD_BATCHES
    await sink.flush()
    assert files(tmp_path) == ["hour=10 0-299"]
    assert numbers(tmp_path) == Counter(range(300))


async def test_a_half_written_file_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    """Who holds the lock knows that nobody else is writing."""
    await filled(tmp_path, batch(0, 1))
    leftover = tmp_path / TOPIC / ".p3.tmp"
    leftover.write_bytes(b"PAR1")
    await archive(tmp_path)
    assert not leftover.exists()


async def test_a_partition_that_another_process_has_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of writing, it would go on there: waiting is all there is to do."""
    monkeypatch.setattr(partition_module, "LOCK_TIMEOUT_S", 0.05)
    sink = await filled(tmp_path, batch(0, 5))
    await sink.write(batch(5, 5))
    leftover = tmp_path / TOPIC / ".p3.tmp"
    leftover.write_bytes(b"PAR1")
    with (tmp_path / TOPIC / ".p3.lock").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SinkUnavailable, match=r"\.p3\.lock is locked by another process .* resume or kill it"):
            await sink.flush()
        await archive(tmp_path)
        assert leftover.exists(), "it may be the file that the other one writes"
    await sink.flush()
    assert numbers(tmp_path) == Counter(range(10))


async def test_a_full_disk_keeps_the_batch_for_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await filled(tmp_path, batch(0, 5))
    await sink.write(batch(5, 5))

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(SinkUnavailable, match="No space left"):
            await sink.flush()
    assert numbers(tmp_path) == Counter(range(5))
    assert not list((tmp_path / TOPIC).glob(".*.tmp"))
    await sink.flush()
    assert numbers(tmp_path) == Counter(range(10))


async def test_a_file_whose_name_could_not_be_synced_is_seen_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, whatever the error says; more records may have come since."""
    sink = await filled(tmp_path, batch(0, 5))
    await sink.write(batch(5, 5))

    def refuse(_folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(durable, "sync_folder", refuse)
        failing.setattr(partition_module, "make_folder", lambda _path, _root: None)
        with pytest.raises(SinkUnavailable, match="Input/output error"):
            await sink.flush()
    await sink.write(batch(10, 5))
    await sink.flush()
    assert files(tmp_path) == ["hour=10 0-4", "hour=10 10-14", "hour=10 5-9"]


async def test_a_folder_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    sink = await filled(tmp_path, batch(0, 5))
    (tmp_path / TOPIC).rename(tmp_path / "elsewhere")
    await sink.write(batch(5, 5))
    await sink.flush()
    assert files(tmp_path) == ["hour=10 5-9"]


async def test_a_topic_that_is_shorter_than_its_archive_is_refused(tmp_path: Path) -> None:
    """Passing over its offsets would lose the new topic's records."""
    await filled(tmp_path, batch(0, 100))
    with pytest.raises(FatalError, match="made anew"):
        await (await archive(tmp_path)).write(batch(0, 5, end_offset=5))


async def test_a_topic_made_anew_is_refused_when_it_is_as_long_as_the_archive(tmp_path: Path) -> None:
    await filled(tmp_path, batch(0, 20))
    sink = await archive(tmp_path)
    await sink.write(other(0, 30))
    with pytest.raises(FatalError, match=r"another record at offset 0 .* made anew\. Move .* away"):
        await sink.flush()
    assert files(tmp_path) == ["hour=10 0-19"]


async def test_the_last_record_that_is_passed_over_is_compared_as_well(tmp_path: Path) -> None:
    """A topic made anew may begin with the same lines."""
    await filled(tmp_path, batch(0, 20))
    sink = await archive(tmp_path)
    same, strange = batch(0, 30), other(10, 20)
    await sink.write(replace(same, records=[*same.records[:10], *strange.records]))
    with pytest.raises(FatalError, match="another record at offset 19"):
        await sink.flush()


async def test_a_topic_made_anew_during_an_assignment_is_refused(tmp_path: Path) -> None:
    sink = await filled(tmp_path, batch(0, 20))
    await sink.write(other(0, 5))
    with pytest.raises(FatalError, match="made anew"):
        await sink.flush()


async def test_offsets_that_go_back_are_not_mixed_with_what_is_held(tmp_path: Path) -> None:
    sink = await archive(tmp_path)
    await sink.write(batch(20, 5))
    await sink.write(batch(0, 5))
    await sink.flush()
    assert files(tmp_path) == ["hour=10 0-4", "hour=10 20-24"]


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    await filled(tmp_path, batch(0, 5))
    [path] = (tmp_path / TOPIC).rglob("*.parquet")
    path.write_bytes(b"nonsense")
    sink = await archive(tmp_path)
    await sink.write(batch(0, 5))
    with pytest.raises(FatalError, match=r"p3-0+-0+4\.parquet cannot be read"):
        await sink.flush()


async def test_a_row_holds_the_whole_record(tmp_path: Path) -> None:
    """Nothing of a record is lost in the columns, the time's offset from UTC and absent fields included."""
    plain = batch(0, 1).records[0]
    rich = AccessRecord.model_validate(
        {
            **dict(plain),
            "time": datetime(2015, 5, 17, 10, 5, 3, 123456, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
            "status": 999,
            "body_bytes": 2**63 - 1,
            "path": None,
            "request": "\x00\x1b[2J\\xff ü 🦉",
            "escaped_fields": ("request", "user_agent"),
            "details": Details(host=None, upstream=Upstream(statuses=(200, None)), extra={"a": None}),
        }
    )
    decoded = decode(received([plain.to_json(), rich.to_json()]), "group", "service")
    await filled(tmp_path, decoded)
    rows = [row for path in (tmp_path / TOPIC).rglob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    found = sorted(rows, key=lambda row: int(row["kafka_offset"]))
    for record, row in zip((plain, rich), found, strict=True):
        again = as_archived(record, row)
        assert again == record
        assert row["utc_offset_s"] == (record.time.utcoffset() or timedelta()).total_seconds()
        assert again.model_fields_set == record.model_fields_set
    assert [(row["kafka_partition"], row["kafka_offset"]) for row in found] == [(3, 0), (3, 1)]
    assert found[0]["kafka_timestamp"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert list(found[0]) == SCHEMA.names


async def test_a_time_without_a_date_in_utc_is_rejected_alone() -> None:
    """There is no folder to name for it; the rest of the batch is taken."""
    early = value(1).replace(b"2015-05-17T10:05:03Z", b"0001-01-01T00:00:00+01:00")
    decoded = decode(received([value(0), early, value(2)]), "group", "service")
    with pytest.raises(RecordsRejected) as rejected:
        rows_by_hour(decoded)
    assert rejected.value.offsets == frozenset({1})
    assert len(rows_by_hour(decoded.without({1}))) == 1


def test_the_folder_of_an_hour_and_back() -> None:
    for text in ("0001-01-01T00", "1969-12-31T23", "2026-11-22T15", "9999-12-31T23"):
        hour = hour_of(microseconds_of(datetime.fromisoformat(f"{text}:59:59Z")))
        assert folder_name(hour) == "date={}/hour={}".format(*text.split("T"))
        assert hour_named(*folder_name(hour).split("/")) == hour
    assert hour_named("date=2026-11-22", "hour=24") is hour_named("date=lost", "hour=found") is None


async def test_the_small_files_of_a_quiet_hour_become_one(tmp_path: Path) -> None:
    """Whoever owns the partition then; and what is read again after that is passed over."""
    await filled(tmp_path, batch(0, 5), batch(5, 5), at_hours(10, [11]))
    sink = await filled(tmp_path, batch(11, 5), compact_after_s=1e-9)
    await sink.flush()
    assert files(tmp_path) == ["hour=10 0-9", "hour=10 11-15", "hour=11 10-10"]
    assert query(tmp_path, "SELECT kafka_offset FROM {archive} WHERE hour = 10") == [
        (n,) for n in (*range(10), *range(11, 16))
    ]
    await filled(tmp_path, batch(0, 8), at_hours(8, [10, 10, 11, 10, 10, 10, 10, 10, 10]))
    assert numbers(tmp_path) == Counter(range(17))


async def test_a_gap_that_the_owner_has_read_past_does_not_keep_files_apart(tmp_path: Path) -> None:
    sink = await filled(tmp_path, at_hours(0, [10, 10]), at_hours(2, [11]), at_hours(7, [10]), compact_after_s=1e-9)
    await sink.flush()
    await sink.flush()
    assert files(tmp_path) == ["hour=10 0-7", "hour=11 2-2"]


async def test_an_hour_with_new_files_is_not_merged(tmp_path: Path) -> None:
    sink = await filled(tmp_path, batch(0, 5), batch(5, 5), compact_after_s=600)
    await sink.flush()
    assert len(files(tmp_path)) == 2
    heir = await filled(tmp_path, compact_after_s=600)
    await heir.flush()
    assert len(files(tmp_path)) == 2
    os.utime(tmp_path / TOPIC / "date=2015-05-17" / "hour=10", (0, time.time() - 601))
    last = await filled(tmp_path, compact_after_s=600)
    await last.flush()
    assert files(tmp_path) == ["hour=10 0-9"]


async def test_files_of_fewer_columns_are_merged(tmp_path: Path) -> None:
    """As an earlier version has written them."""
    await filled(tmp_path, batch(0, 5), batch(5, 5))
    path = min((tmp_path / TOPIC).rglob("*.parquet"))
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["details"]), path)
    sink = await archive(tmp_path)
    assert sink._partitions[3].merge(hour_of(microseconds_of(batch(0, 1).records[0].time)))
    assert files(tmp_path) == ["hour=10 0-9"]
    assert numbers(tmp_path) == Counter(range(10))


async def test_files_of_columns_that_are_not_known_are_left_alone(tmp_path: Path) -> None:
    """As a later version has written them: a merge would drop what it does not know."""
    await filled(tmp_path, batch(0, 5), batch(5, 5))
    path = min((tmp_path / TOPIC).rglob("*.parquet"))
    table = pq.ParquetFile(path).read()
    pq.write_table(table.append_column("later", table.column("path")), path)
    sink = await archive(tmp_path)
    assert not sink._partitions[3].merge(hour_of(microseconds_of(batch(0, 1).records[0].time)))
    assert len(files(tmp_path)) == 2


async def test_a_merge_that_fails_is_told_and_harms_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path, batch(0, 5), batch(5, 5))
    damaged = min((tmp_path / TOPIC).rglob("*.parquet"))
    damaged.write_bytes(b"nonsense")
    sink = await filled(tmp_path, batch(10, 5), compact_after_s=1e-9)
    await sink.flush()
    assert "archive_merge_failed" in capsys.readouterr().out
    assert files(tmp_path) == ["hour=10 0-4", "hour=10 10-14", "hour=10 5-9"]


def test_a_merge_is_bounded_in_files_and_bytes() -> None:
    sizes = [(Span(number, number), 10) for number in range(10)]
    assert run_to_merge(sizes, None, 1000, 4) == [span for span, _size in sizes[:4]]
    assert run_to_merge(sizes, None, 30, 100) == [span for span, _size in sizes[:3]]
    assert run_to_merge([(Span(0, 0), 31), *sizes[1:]], None, 30, 100) == [span for span, _size in sizes[1:4]]
    assert run_to_merge(sizes, None, 10, 100) == []


async def test_verify_finds_what_was_archived_since(tmp_path: Path) -> None:
    await filled(tmp_path, batch(0, 20))
    since = datetime(2015, 5, 17, 10, 59, tzinfo=UTC)
    assert list(lines_holding(tmp_path / TOPIC, "/1", since)) == [f'{{"path": "/{n}"}}' for n in (1, *range(10, 20))]
    assert not list(lines_holding(tmp_path / TOPIC, "/1", since + timedelta(hours=1)))
    assert not list(lines_holding(tmp_path / "no topic", "/1", since))


async def test_verify_looks_again_when_files_were_merged_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await filled(tmp_path, batch(0, 5), batch(5, 5))
    listed: list[Path] = []
    list_files = Path.glob

    def merge_after_the_first(folder: Path, pattern: str) -> list[Path]:
        found = list(list_files(folder, pattern))
        if pattern == "*.parquet" and not listed:
            listed.extend(found)
            sink._partitions[3].merge(hour_of(microseconds_of(batch(0, 1).records[0].time)))
        return found

    monkeypatch.setattr(Path, "glob", merge_after_the_first)
    assert len(list(lines_holding(tmp_path / TOPIC, "/", datetime(2015, 5, 17, tzinfo=UTC)))) == 10
    assert len(listed) == 2


async def test_the_lines_of_the_documentation_read_the_archive(tmp_path: Path) -> None:
    """Those that docs/archive.md shows, as they stand there."""
    import duckdb

    await filled(tmp_path / "archive", at_hours(0, [10, 10, 11]))
    text = (Path(__file__).parents[3] / "docs" / "archive.md").read_text()
    shown = [block.split("```")[0] for block in text.split("```sql\n")[1:]]
    assert len(shown) >= 3
    for statement in shown:
        with duckdb.connect() as connection:
            rows = connection.execute(statement.replace("'archive/", f"'{tmp_path}/archive/")).fetchall()
        assert rows, statement
