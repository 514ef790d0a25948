"""What every sink in the table has in common, and what each promises besides."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import pytest

from services.consumer.decode import DecodedBatch, decode
from services.consumer.handlers import Handler
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks import SINKS
from services.consumer.sinks.archive import ArchiveSink
from services.consumer.sinks.base import Sink
from services.consumer.sinks.handler import HandlerSink
from services.consumer.sinks.stdout import StdoutSink, render
from services.consumer.sinks.text import one_line, printable
from shared.errors import FatalError, SinkUnavailable
from shared.schemas import AccessRecord
from tests.postgres_server import TestDatabase
from tests.unit.consumer.records import TOPIC, batch, received, value

Numbers = Callable[[], list[int]]
handled: list[AccessRecord] = []


async def remember(records: Sequence[AccessRecord]) -> None:
    handled.extend(records)


@pytest.fixture(params=SINKS)
def sink(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> tuple[Sink, Numbers]:
    """A sink as the service makes it, and the numbers of the records that came out of it."""
    monkeypatch.setenv("SERVICE_NAME", "test")
    monkeypatch.setenv("SINK", request.param)
    monkeypatch.setenv("ARCHIVE_DIR", str(tmp_path))
    database: TestDatabase | None = None
    if request.param == "postgres":
        database = request.getfixturevalue("database")
        for name, setting in database.settings.items():
            monkeypatch.setenv(name, setting)
    if request.param == "handler":
        monkeypatch.setenv("HANDLER", f"{__name__}:remember")
    handled.clear()
    printed = bytearray()

    def numbers() -> list[int]:
        printed.extend(capsysbinary.readouterr().out)
        lines = bytes(printed).splitlines()
        lines += [line for file in sorted(tmp_path.rglob("*.ndjson")) for line in file.read_bytes().splitlines()]
        found = [json.loads(line) for line in lines]
        order = "SELECT source_offset FROM access_log ORDER BY kafka_partition, kafka_offset"
        stored = [row[0] for row in database.query(order)] if database else []
        printed_or_filed = [one.get("record", one)["source"]["offset"] for one in found]
        return printed_or_filed + stored + [one.source.offset for one in handled]

    return SINKS[request.param](ConsumerSettings()), numbers


def test_the_setting_knows_every_sink_of_the_table() -> None:
    assert set(get_args(ConsumerSettings.model_fields["sink"].annotation)) == set(SINKS)


async def test_what_is_flushed_is_out_and_in_order(sink: tuple[Sink, Numbers]) -> None:
    """For every sink: after `flush` all that was taken is where it belongs, once."""
    it, numbers = sink
    await it.open()
    await it.resume(TOPIC, [3])
    await it.write(batch(0, 5))
    await it.write(batch(5, 5))
    await it.flush()
    assert numbers() == [*range(10)]
    await it.flush()
    await it.close()
    assert numbers() == [*range(10)]


async def test_partitions_are_independent(sink: tuple[Sink, Numbers]) -> None:
    """For every sink: equal offsets of two partitions do not meet."""
    it, numbers = sink
    await it.open()
    await it.resume(TOPIC, [1, 2])
    await it.write(batch(0, 5, partition=1))
    await it.write(batch(0, 5, partition=2))
    await it.flush()
    await it.close()
    assert sorted(numbers()) == sorted([*range(5)] * 2)


async def test_a_forgotten_partition_can_come_back(sink: tuple[Sink, Numbers]) -> None:
    """For every sink: after `forget` the same offsets are taken again, and others are unharmed."""
    it, numbers = sink
    await it.open()
    await it.resume(TOPIC, [1, 2])
    await it.write(batch(0, 5, partition=1))
    await it.write(batch(100, 5, partition=2))
    it.forget([1, 7])
    await it.resume(TOPIC, [1])
    await it.write(batch(0, 5, partition=1))
    await it.flush()
    await it.close()
    assert set(numbers()) == {*range(5), *range(100, 105)}


def test_a_printed_line_is_one_object_with_the_exact_value() -> None:
    line = render(batch(42, 1))
    assert line == b'{"event":"record","topic":"nginx_logs","partition":3,"offset":42,"record":' + value(42) + b"}\n"


def test_a_value_of_our_own_is_printed_as_it_is() -> None:
    assert printable(value(1)) == one_line(value(1)) == value(1)


@pytest.mark.parametrize(
    ("foreign", "safe"),
    [
        (b'{\r\n "a": 1\n}', b'{   "a": 1 }'),
        (b'{"a":"\x7f"}', rb'{"a":"\u007f"}'),
        ('{"a":"\x9b31m\u202e"}'.encode(), rb'{"a":"\u009b31m\u202e"}'),
        ('{"a":"ü"}'.encode(), '{"a":"ü"}'.encode()),
    ],
)
def test_foreign_values_become_one_line_that_steers_nothing(foreign: bytes, safe: bytes) -> None:
    assert printable(foreign) == safe
    assert json.loads(safe) == json.loads(foreign)
    assert json.loads(one_line(foreign)) == json.loads(foreign)


async def test_stdout_that_cannot_be_written_is_fatal() -> None:
    """A repetition could double half a batch for a reader that is still there."""

    class Full(io.BytesIO):
        def write(self, _text: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(FatalError, match="No space left"):
        await StdoutSink(Full).write(batch(0, 1))


async def test_a_handler_that_raises_is_an_unavailable_sink() -> None:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        raise KeyError("table")

    with pytest.raises(SinkUnavailable, match="KeyError: 'table'"):
        await HandlerSink(fail).write(batch(0, 1))


async def test_the_failure_of_a_handler_names_the_line_of_ones_own_code() -> None:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        json.loads("nope")

    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(SinkUnavailable, match=rf"JSONDecodeError: .* \(test_sinks\.py:{line}\)$"):
        await HandlerSink(fail).write(batch(0, 1))


async def test_a_handler_that_takes_other_arguments_is_named_without_a_line() -> None:
    async def fail() -> None:
        """Takes nothing."""

    with pytest.raises(SinkUnavailable, match=r"TypeError: .* 1 was given$"):
        await HandlerSink(cast("Handler", fail)).write(batch(0, 1))


async def test_a_task_that_is_cancelled_within_a_handler_is_its_failure() -> None:
    async def fail(_records: Sequence[AccessRecord]) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    with pytest.raises(SinkUnavailable, match=r"CancelledError \(test_sinks\.py:\d+\)$"):
        await HandlerSink(fail).write(batch(0, 1))


async def test_a_shutdown_cancels_a_handler() -> None:
    async def wait(_records: Sequence[AccessRecord]) -> None:
        await asyncio.sleep(60)

    writing = asyncio.create_task(HandlerSink(wait).write(batch(0, 1)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_a_handler_that_exits_ends_the_service_in_order() -> None:
    async def leave(_records: Sequence[AccessRecord]) -> None:
        sys.exit(3)

    with pytest.raises(FatalError, match=r"SystemExit: 3 \(test_sinks\.py:\d+\)\. A handler must not end"):
        await HandlerSink(leave).write(batch(0, 1))


def files(directory: Path, partition: int = 3) -> list[str]:
    return sorted(path.name for path in (directory / TOPIC / f"partition={partition}").iterdir())


async def archive(directory: Path, buffer_bytes: int = 1_000_000) -> ArchiveSink:
    sink = ArchiveSink(directory, buffer_bytes)
    await sink.open()
    return sink


async def test_an_archive_file_is_named_by_its_offsets(tmp_path: Path) -> None:
    sink = await archive(tmp_path)
    await sink.write(batch(42, 10))
    assert not files(tmp_path)
    await sink.flush()
    assert files(tmp_path) == ["00000000000000000042-00000000000000000051.ndjson"]


async def test_what_is_archived_is_passed_over(tmp_path: Path) -> None:
    """A process that died between writing and committing reads the offsets again."""
    first = await archive(tmp_path)
    await first.write(batch(0, 10))
    await first.flush()
    second = await archive(tmp_path)
    await second.write(batch(0, 6))
    await second.write(batch(6, 8))
    await second.flush()
    assert [name[:41] for name in files(tmp_path)] == [
        "00000000000000000000-00000000000000000009",
        "00000000000000000010-00000000000000000013",
    ]


async def test_two_owners_of_one_partition_do_not_archive_an_offset_twice(tmp_path: Path) -> None:
    """One was stopped for longer than its session and does not know it yet."""
    zombie, heir = await archive(tmp_path), await archive(tmp_path)
    await zombie.write(batch(0, 10))
    await heir.write(batch(0, 15))
    await zombie.flush()
    await heir.flush()
    assert [name[:41] for name in files(tmp_path)] == [
        "00000000000000000000-00000000000000000009",
        "00000000000000000010-00000000000000000014",
    ]


async def test_a_full_buffer_is_written_early(tmp_path: Path) -> None:
    sink = await archive(tmp_path, buffer_bytes=1)
    await sink.write(batch(0, 5))
    await sink.write(batch(5, 5))
    assert len(files(tmp_path)) == 1


async def test_a_half_written_file_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / TOPIC / "partition=3"
    folder.mkdir(parents=True)
    leftover = folder / ".00000000000000000000-00000000000000000009.ndjson.17.tmp"
    leftover.write_bytes(b"{")
    os.utime(leftover, (0, 0))
    sink = await archive(tmp_path)
    await sink.write(batch(0, 10))
    assert files(tmp_path) == []


async def test_a_file_that_another_member_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Members in containers have the same process id; a name of its own keeps each one's file from the other."""
    folder = tmp_path / TOPIC / "partition=3"
    folder.mkdir(parents=True)
    others = folder / f".00000000000000000000-00000000000000000009.ndjson.{os.getpid()}.tmp"
    others.write_bytes(b"{")
    sink = await archive(tmp_path)
    await sink.write(batch(0, 10))
    await sink.flush()
    assert files(tmp_path) == [others.name, "00000000000000000000-00000000000000000009.ndjson"]
    assert others.read_bytes() == b"{"


async def test_no_file_is_written_under_a_temporary_name_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: "00")
    sink = await archive(tmp_path)
    await sink.write(batch(0, 10))
    taken = tmp_path / TOPIC / "partition=3" / ".00000000000000000000-00000000000000000009.ndjson.00.tmp"
    taken.write_bytes(b"{")
    with pytest.raises(SinkUnavailable, match="File exists"):
        await sink.flush()
    assert taken.read_bytes() == b"{"
    monkeypatch.undo()
    await sink.flush()
    assert len(files(tmp_path)) == 2


async def test_a_full_disk_keeps_the_batch_for_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await archive(tmp_path)
    await sink.write(batch(0, 10))

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(SinkUnavailable, match="No space left"):
            await sink.flush()
    assert files(tmp_path) == []
    await sink.flush()
    assert files(tmp_path) == ["00000000000000000000-00000000000000000009.ndjson"]


async def test_an_archive_of_a_topic_that_was_made_anew_is_refused(tmp_path: Path) -> None:
    """Passing over its offsets would lose the new topic's records."""
    sink = await archive(tmp_path)
    await sink.write(batch(0, 100))
    await sink.flush()
    with pytest.raises(FatalError, match="made anew"):
        await (await archive(tmp_path)).write(batch(0, 5, end_offset=5))


async def filled(directory: Path, count: int = 20) -> None:
    sink = await archive(directory)
    await sink.write(batch(0, count))
    await sink.flush()


def other(first: int, count: int) -> DecodedBatch:
    """As of a topic that was made anew: the offsets are known, the values are not."""
    one = batch(first, count)
    return replace(one, values=[value(1_000_000 + number) for number in range(count)])


async def test_a_topic_made_anew_is_refused_when_it_is_as_long_as_the_archive(tmp_path: Path) -> None:
    """Its end alone does not tell, and passing over its offsets would lose them."""
    await filled(tmp_path)
    sink = await archive(tmp_path)
    await sink.write(other(0, 30))
    with pytest.raises(FatalError, match=r"another record at offset 0 .* made anew\. Move the folder away"):
        await sink.flush()
    assert len(files(tmp_path)) == 1


async def test_the_last_record_that_is_passed_over_is_compared_as_well(tmp_path: Path) -> None:
    """A topic made anew may begin with the same lines."""
    await filled(tmp_path)
    sink = await archive(tmp_path)
    same = batch(0, 30)
    await sink.write(replace(same, values=[*same.values[:10], *other(10, 20).values]))
    with pytest.raises(FatalError, match="another record at offset 19"):
        await sink.flush()


async def test_a_topic_made_anew_during_an_assignment_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path)
    sink = await archive(tmp_path)
    await sink.write(batch(0, 20))
    await sink.flush()
    await sink.write(other(0, 5))
    with pytest.raises(FatalError, match="made anew"):
        await sink.flush()


async def test_values_beside_a_reject_are_found_when_they_come_again(tmp_path: Path) -> None:
    values: list[bytes | None] = [value(number) for number in range(5)]
    values[2] = b"{}"
    decoded = decode(received(values), "group", "service")
    for _ in range(2):
        sink = await archive(tmp_path)
        await sink.write(decoded)
        await sink.flush()
    assert len(files(tmp_path)) == 1
    sink = await archive(tmp_path)
    await sink.write(other(0, 5))
    with pytest.raises(FatalError, match="made anew"):
        await sink.flush()


async def test_files_that_were_removed_are_not_missed(tmp_path: Path) -> None:
    """The oldest ones may go: their offsets stay passed over, and there is nothing to compare them with."""
    await filled(tmp_path, 10)
    sink = await archive(tmp_path)
    await sink.write(batch(10, 10))
    await sink.flush()
    (tmp_path / TOPIC / "partition=3" / files(tmp_path)[0]).unlink()
    again = await archive(tmp_path)
    await again.write(batch(0, 25))
    await again.flush()
    assert [name[:41] for name in files(tmp_path)] == [
        "00000000000000000010-00000000000000000019",
        "00000000000000000020-00000000000000000024",
    ]


@pytest.mark.parametrize("foreign", [b'{\r\n"a":1}', b'{"a":"\x7f"}', '{"a":"\x9b31m"}'.encode()])
def test_one_foreign_value_among_others_is_made_safe(foreign: bytes) -> None:
    one = batch(0, 3)
    mixed = replace(one, values=[one.values[0], foreign, one.values[2]])
    lines = render(mixed).split(b"\n")
    assert len(lines) == 4
    assert json.loads(lines[1])["record"] == json.loads(foreign)
    assert not {b"\x7f", b"\r", b"\xc2\x9b"} & {render(mixed)[at : at + size] for at in range(3000) for size in (1, 2)}
