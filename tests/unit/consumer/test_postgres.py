"""SINK=postgres without a database: settings, rows, what errors mean, and who may store what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumer.decode import DecodedBatch, decode
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.postgres.database import Database
from services.consumer.sinks.postgres.failures import RULES, Meaning, rule_of
from services.consumer.sinks.postgres.holdings import Move
from services.consumer.sinks.postgres.migrations import TableNames, migrations
from services.consumer.sinks.postgres.rows import COLUMNS, Row, parse_address, rows_of
from services.consumer.sinks.postgres.sink import PostgresSink
from services.producer.parse.escape import restore
from shared.errors import InvalidSettings, OwnershipLost, RecordsRejected, SinkUnavailable
from shared.runtime.settings import load_settings
from shared.schemas import AccessRecord
from tests.unit.consumer.records import TOPIC, batch, received, value

# Settings


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ConsumerSettings:
    for name, setting in {"SERVICE_NAME": "test", "SINK": "postgres", **variables}.items():
        monkeypatch.setenv(name, setting)
    return load_settings(ConsumerSettings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://writer@db:5432/logs",
        "postgres:///logs",
        "postgresql://writer@one:5432,two:5432/logs?target_session_attrs=read-write&sslmode=verify-full",
    ],
)
def test_a_url_without_a_password_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    found = settings(monkeypatch, POSTGRES_URL=url).postgres_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["postgresql://writer:hunter2@db/logs", "postgresql://db/logs?password=hunter2", "mysql://hunter2@db/logs"]
)
def test_a_url_that_is_refused_is_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It may hold the password."""
    with pytest.raises(InvalidSettings, match=r"POSTGRES_URL=\(hidden\) is not allowed") as refused:
        settings(monkeypatch, POSTGRES_URL=url)
    assert "hunter2" not in str(refused.value)


def test_the_sink_needs_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSettings, match="SINK=postgres needs POSTGRES_URL"):
        settings(monkeypatch)


@pytest.mark.parametrize("name", ["access_log", "logs.access_log", "user", "a" * 50])
def test_a_table_may_have_a_schema(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert settings(monkeypatch, POSTGRES_URL="postgresql://h/d", POSTGRES_TABLE=name).postgres_table == name


@pytest.mark.parametrize("name", ['x"; DROP TABLE y', "a.b.c", ".a", "a.", "Access", "1a", "a" * 51, "a\n", "ä"])
def test_a_table_that_is_no_plain_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(InvalidSettings, match=r"POSTGRES_TABLE=.* is not allowed: it must read"):
        settings(monkeypatch, POSTGRES_URL="postgresql://h/d", POSTGRES_TABLE=name)


# Tables


def test_names_are_quoted_for_sql() -> None:
    assert TableNames.parse("user").records == '"user"'
    assert TableNames.parse("logs.access").offsets == '"logs"."access_offsets"'
    assert max(len(name) for name in ("_offsets", "_schema", "_time_idx")) + 50 <= 63


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [one.version for one in migrations(TableNames.parse("access_log"))]
    assert numbers == [*range(1, len(numbers) + 1)]


def test_every_column_that_is_copied_is_made() -> None:
    """And there is none besides."""
    [table] = [
        text for text in migrations(TableNames.parse("t"))[0].statements if text.startswith('CREATE TABLE "t" (')
    ]
    made = [line.split()[0] for line in table.splitlines()[1:-1] if "PRIMARY" not in line]
    assert sorted(made) == sorted(COLUMNS)


# Errors


@pytest.mark.parametrize(
    ("sqlstate", "meaning"),
    [
        ("08006", Meaning.AWAY),  # connection failure
        ("25006", Meaning.AWAY),  # read-only, after a failover
        ("25P03", Meaning.AWAY),  # idle in a transaction for too long
        ("40P01", Meaning.AWAY),  # deadlock
        ("40003", Meaning.AWAY),  # outcome unknown
        ("53100", Meaning.AWAY),  # disk full
        ("53300", Meaning.AWAY),  # too many connections
        ("55P03", Meaning.AWAY),  # lock timeout
        ("57014", Meaning.AWAY),  # statement timeout
        ("57P01", Meaning.AWAY),  # shutting down
        ("57P03", Meaning.AWAY),  # starting up
        ("58030", Meaning.AWAY),  # input or output
        ("XX000", Meaning.AWAY),  # the server's own fault
        ("28P01", Meaning.REFUSED),  # wrong password
        ("28000", Meaning.REFUSED),  # no such user
        ("3D000", Meaning.REFUSED),  # no such database
        ("3F000", Meaning.REFUSED),  # no such schema
        ("42501", Meaning.REFUSED),  # no privilege
        ("42P01", Meaning.WRONG),  # no such table
        ("42703", Meaning.WRONG),  # no such column
        ("23505", Meaning.WRONG),  # offsets twice
        ("22021", Meaning.WRONG),  # a text that `rows` should have refused
    ],
)
def test_what_an_error_means(sqlstate: str, meaning: Meaning) -> None:
    assert rule_of(sqlstate).meaning is meaning


def test_whatever_ends_the_service_names_the_next_step() -> None:
    for sqlstate, rule in RULES.items():
        assert rule.meaning is Meaning.AWAY or rule.advice, sqlstate


# Rows


def record_with(**fields: object) -> DecodedBatch:
    """One valid record with these fields."""
    whole = json.loads(value(0))
    whole.update(fields)
    decoded = decode(received([json.dumps(whole).encode()]), "group", "service")
    assert not decoded.rejects, decoded.rejects
    return decoded


def columns(decoded: DecodedBatch) -> dict[str, object]:
    [row] = rows_of(decoded)
    return dict(zip(COLUMNS, row, strict=True))


def test_a_row_holds_every_field() -> None:
    details = {"request_time_s": 0.25, "extra": {"x": "y"}}
    one = columns(record_with(client_address="192.0.2.7", details=details))
    assert one["kafka_topic"] == TOPIC
    assert (one["kafka_partition"], one["kafka_offset"], one["source_offset"]) == (3, 0, 0)
    assert isinstance(one["time"], datetime)
    assert str(one["client_ip"]) == one["client_address"] == "192.0.2.7"
    assert json.loads(cast(str, one["details"])) == details
    assert (one["path"], one["status"], one["body_bytes"], one["user_agent"]) == ("/0", 200, 1, "über")
    assert (one["source_host"], one["source_file"], one["source_generation"]) == ("web-1", "/access.log", "g")


@pytest.mark.parametrize("text", ["unix:", "", "192.0.2.1:80", "256.1.1.1"])
def test_what_is_no_address_stays_text(text: str) -> None:
    one = columns(record_with(client_address=text))
    assert (one["client_address"], one["client_ip"]) == (text, None)


def test_an_address_of_version_6_is_one() -> None:
    assert str(parse_address("2001:db8::1")) == "2001:db8::1"


@given(st.text(alphabet=st.sampled_from("\0\\x05C ü"), max_size=8), st.text(alphabet="\0\\a", max_size=3))
def test_a_text_with_nul_is_stored_and_can_be_restored(path: str, referrer: str) -> None:
    """By the rule of the record's `escaped_fields`; and no column holds what PostgreSQL refuses."""
    one = columns(record_with(path=path, referrer=referrer))
    for name, sent in (("path", path), ("referrer", referrer)):
        stored, escaped = cast(str, one[name]), name in cast(Sequence[str], one["escaped_fields"])
        assert escaped == ("\0" in sent)
        assert "\0" not in stored
        assert restore(stored, escaped=escaped) == sent.encode()


def test_a_field_that_is_escaped_already_is_escaped_once() -> None:
    one = columns(record_with(path="\\xFF\\x5C\0", escaped_fields=["path"]))
    assert one["path"] == "\\xFF\\x5C\\x00"
    assert one["escaped_fields"] == ("path",)


def test_details_are_escaped_as_well() -> None:
    details = {"extra": {"a": "x\0\\", "b": "\\"}, "upstream": {"addresses": ["a\0", "b\\", None]}}
    one = columns(record_with(details=details))
    assert json.loads(cast(str, one["details"])) == {
        "extra": {"a": "x\\x00\\x5C", "b": "\\"},
        "upstream": {"addresses": ["a\\x00", "b\\x5C", None]},
    }
    assert set(cast(Sequence[str], one["escaped_fields"])) == {"details.extra.a", "details.upstream.addresses"}


def test_records_that_no_row_can_hold_are_named() -> None:
    """All of the batch at once, so that the rest is stored at once."""
    source = {"host": "web-1", "file": "/a\0", "generation": "g", "offset": 1, "length": 1}
    bad = [record_with(source=source), record_with(time="9999-12-31T23:59:59Z")]
    bad += [record_with(details={"extra": {"a\0": "x"}}), record_with(escaped_fields=["\0"])]
    values = [value(0), *(one.values[0] for one in bad), value(5)]
    with pytest.raises(RecordsRejected, match="cannot store 4 of 6 records; offset 1: source holds") as rejected:
        rows_of(decode(received(values), "group", "service"))
    assert rejected.value.offsets == frozenset({1, 2, 3, 4})


# Who may store what: two members over one model of a database


class ModelDatabase:
    """Transactions that hold to their word; the outcome of one may not be heard."""

    table = "model"

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.rows: list[Row] = []
        self.fault: str | None = None

    async def stored_offsets(self, _topic: str, partitions: Collection[int]) -> dict[int, int]:
        self._fail_if("away")
        return {number: self.offsets[number] for number in partitions if number in self.offsets}

    async def store(self, _topic: str, moves: Sequence[Move], rows: Iterable[Row]) -> None:
        self._fail_if("away")
        if any(self.offsets.get(move.partition) != move.expected for move in moves):
            raise OwnershipLost("moved")
        self._fail_if("before")
        self.offsets.update({move.partition: move.next_offset for move in moves})
        self.rows += rows
        self._fail_if("after")

    def _fail_if(self, fault: str) -> None:
        if self.fault == fault:
            self.fault = None
            raise SinkUnavailable(fault)


class Member:
    """One replica as the pipeline drives it: after OwnershipLost it begins again at what is stored."""

    def __init__(self, database: ModelDatabase) -> None:
        self.sink = PostgresSink(cast(Database, database), buffer_records=6)
        self.position: dict[int, int] = {}

    async def assign(self) -> None:
        self.sink.forget([0, 1])
        self.position = {}
        stored = await self.sink.resume(TOPIC, [0, 1])
        self.position = {0: stored.get(0, 0), 1: stored.get(1, 0)}

    async def step(self, action: str, partition: int, count: int) -> None:
        try:
            if action == "assign" or not self.position:
                await self.assign()
            elif action == "write":
                await self.sink.write(numbered(partition, self.position[partition], count))
                self.position[partition] += count
            else:
                await self.sink.flush()
        except OwnershipLost:
            self.sink.forget([0, 1])
            self.position = {}
        except SinkUnavailable:
            return  # what was not taken comes again


def numbered(partition: int, first: int, count: int) -> DecodedBatch:
    return batch(first, count, partition)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["write", "write", "flush", "assign"]),
        st.integers(0, 1),
        st.integers(1, 4),
        st.sampled_from([None, None, None, "away", "before", "after"]),
    ),
    max_size=40,
)


@given(STEPS)
def test_whoever_stores_and_whatever_is_not_heard_each_offset_is_stored_once(
    steps: list[tuple[int, str, int, int, str | None]],
) -> None:
    """Two members believe that they own the same partitions, and answers are lost."""

    async def play() -> None:
        database = ModelDatabase()
        members = [Member(database), Member(database)]
        for who, action, partition, count, fault in steps:
            database.fault = fault
            await members[who].step(action, partition, count)
            database.fault = None
        last = Member(database)
        await last.assign()
        for partition in (0, 1):
            await last.step("write", partition, 1)
        await last.step("flush", 0, 0)
        for partition in (0, 1):
            stored = [row[-1] for row in database.rows if row[-2] == partition]
            assert stored == [*range(database.offsets[partition])]

    asyncio.run(play())


def test_the_range_of_a_batch_counts_not_its_records() -> None:
    """Rejects and markers at its end are not read again."""

    async def play() -> None:
        database = ModelDatabase()
        sink = PostgresSink(cast(Database, database), 100)
        await sink.resume(TOPIC, [3])
        await sink.write(replace(batch(0, 3), next_offset=7))
        await sink.flush()
        assert database.offsets == {3: 7}

    asyncio.run(play())


def test_a_time_keeps_its_microseconds() -> None:
    one = columns(record_with(time="2015-05-17T10:05:03.123456+02:00"))
    assert (
        one["time"] == AccessRecord.model_validate_json(record_with(time="2015-05-17T08:05:03.123456Z").values[0]).time
    )
