"""What every sink in the table has in common, and what each promises besides."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks import SINKS
from services.consumer.sinks.base import Sink
from services.consumer.sinks.stdout import StdoutSink, render
from services.consumer.sinks.text import one_line, printable
from shared.errors import FatalError
from shared.schemas import AccessRecord
from tests.unit.consumer.records import TOPIC, batch, value

Numbers = Callable[[], list[int]]
handled: list[AccessRecord] = []


async def remember(records: Sequence[AccessRecord]) -> None:
    handled.extend(records)


# Others keep no records, or need a server: they have tests of their own.
HELD_ELSEWHERE = {"alerts", "kafka", "postgres"}


@pytest.fixture(params=sorted(SINKS.keys() - HELD_ELSEWHERE))
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
    if request.param == "handler":
        monkeypatch.setenv("HANDLER", f"{__name__}:remember")
    handled.clear()
    printed = bytearray()

    def numbers() -> list[int]:
        printed.extend(capsysbinary.readouterr().out)
        found = [json.loads(line)["record"]["source"]["offset"] for line in bytes(printed).splitlines()]
        for file in sorted(tmp_path.rglob("*.parquet")):
            found += pq.ParquetFile(file).read(columns=["source_offset"]).column(0).to_pylist()
        return found + [one.source.offset for one in handled]

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


@pytest.mark.parametrize("foreign", [b'{\r\n"a":1}', b'{"a":"\x7f"}', '{"a":"\x9b31m"}'.encode()])
def test_one_foreign_value_among_others_is_made_safe(foreign: bytes) -> None:
    one = batch(0, 3)
    mixed = replace(one, values=[one.values[0], foreign, one.values[2]])
    lines = render(mixed).split(b"\n")
    assert len(lines) == 4
    assert json.loads(lines[1])["record"] == json.loads(foreign)
    assert not {b"\x7f", b"\r", b"\xc2\x9b"} & {render(mixed)[at : at + size] for at in range(3000) for size in (1, 2)}
