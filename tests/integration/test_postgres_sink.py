"""SINK=postgres on a real PostgreSQL, without Kafka: tables, refusals, outages, and commits that nobody hears of."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from services.consumer.decode import decode
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.postgres.sink import PostgresSink
from shared.errors import FatalError, InvalidSettings, OwnershipLost, SinkUnavailable
from tests.integration.commit_cutter import CommitCutter, Cut, cutting_commits
from tests.postgres_server import DEADLINE_S, PASSWORD, PostgresServer, TestDatabase
from tests.unit.consumer.records import TOPIC, batch, received, value
from tests.unit.docs.generated import DOCS
from tests.unit.docs.pages import fences

CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'writer-%'"


def make(database: TestDatabase, **variables: str) -> PostgresSink:
    named = {**database.settings, "SERVICE_NAME": "writer", **variables}
    # A field of the settings is its variable in small letters.
    return PostgresSink.from_settings(ConsumerSettings(**{name.lower(): text for name, text in named.items()}))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(database: TestDatabase, **variables: str) -> AsyncIterator[PostgresSink]:
    """A member that owns partition 3."""
    sink = make(database, **variables)
    try:
        await sink.open()
        await sink.resume(TOPIC, [3])
        yield sink
    finally:
        await sink.close()


def stored(database: TestDatabase) -> list[int]:
    rows = database.query("SELECT kafka_offset FROM access_log ORDER BY ctid")
    return [row[0] for row in rows]


async def test_replicas_that_start_together_make_the_tables_once(database: TestDatabase) -> None:
    sinks = [make(database) for _ in range(8)]
    await asyncio.gather(*(sink.open() for sink in sinks))
    await asyncio.gather(*(sink.close() for sink in sinks))
    assert database.query("SELECT version FROM access_log_schema") == [(1,)]


async def test_a_database_that_is_newer_than_the_program_is_refused(database: TestDatabase) -> None:
    async with opened(database):
        pass
    database.query("INSERT INTO access_log_schema VALUES (99)")
    with pytest.raises(FatalError, match="has version 99, and this program knows 1"):
        await make(database).open()


async def test_each_column_holds_what_the_record_has(database: TestDatabase) -> None:
    async with opened(database, POSTGRES_TABLE="public.lines") as sink:
        await sink.write(batch(7, 2))
        await sink.flush()
    columns = "time, host(client_ip), path, status, user_agent, escaped_fields, source_host, details"
    rows = database.query(f"SELECT {columns}, kafka_topic, kafka_partition, kafka_offset FROM lines WHERE path = '/8'")
    time = datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
    assert rows == [(time, "192.0.2.1", "/8", 200, "über", [], "web-1", None, TOPIC, 3, 8)]


async def test_what_postgres_refuses_is_stored_escaped(database: TestDatabase) -> None:
    """A TLS greeting to a plain port is a request with bytes of 0 in it: that is everyday."""
    sent = value(0).replace(b'"/0"', rb'"\u0016\u0003\u0000\\"')
    sent = sent.replace(b'"escaped_fields"', rb'"details":{"extra":{"a":"\u0000"}},"escaped_fields"')
    decoded = decode(received([sent]), "group", "service")
    assert decoded.records
    async with opened(database) as sink:
        await sink.write(decoded)
        await sink.flush()
    rows = database.query("SELECT path, details #>> '{extra,a}', escaped_fields FROM access_log")
    assert rows == [("\x16\x03\\x00\\x5C", "\\x00", ["path", "details.extra.a"])]


async def test_the_queries_of_the_documentation_run(database: TestDatabase) -> None:
    async with opened(database) as sink:
        await sink.write(batch(0, 3))
        await sink.flush()
    queries = fences(DOCS / "adding-a-consumer.md", "sql")
    assert len(queries) == 2
    for query in queries:
        whenever = query.replace("now() - interval '1 hour'", "'-infinity'")  # the records are of 2015
        assert database.query(whenever), query


# Refusals


async def refused(database: TestDatabase, **variables: str) -> str:
    with pytest.raises(FatalError) as error:
        await make(database, **variables).open()
    assert PASSWORD not in str(error.value)
    return str(error.value)


async def test_wrong_settings_end_the_service_and_are_named(database: TestDatabase) -> None:
    server = database.server
    wrong = database.password_file.with_name("wrong")
    wrong.write_text("nope")
    assert "POSTGRES_PASSWORD_FILE" in await refused(database, POSTGRES_PASSWORD_FILE=str(wrong))
    assert "POSTGRES_URL" in await refused(database, POSTGRES_URL=server.url("nowhere"))
    assert "POSTGRES_URL" in await refused(database, POSTGRES_URL=server.url(database.name, user="nobody"))
    assert "POSTGRES_URL" in await refused(database, POSTGRES_URL="postgresql://h/d?sslmode=maybe")
    assert "POSTGRES_TABLE" in await refused(database, POSTGRES_TABLE="nowhere.access_log")
    with pytest.raises(InvalidSettings, match="POSTGRES_PASSWORD_FILE=/nowhere cannot be read"):
        await make(database, POSTGRES_PASSWORD_FILE="/nowhere").open()


@pytest.fixture
def role(database: TestDatabase) -> Iterator[str]:
    """A user who may do nothing."""
    name = f"role_{database.name}"
    database.query(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    database.query(f"DROP OWNED BY {name}")
    database.query(f"DROP ROLE {name}")


async def test_a_privilege_that_is_missing_is_named(database: TestDatabase, role: str) -> None:
    """And no more is needed than what is named: the tables may be made by somebody else."""
    url = database.server.url(database.name, user=role)
    assert "CREATE on the schema" in await refused(database, POSTGRES_URL=url)
    async with opened(database):
        pass
    database.query(f"GRANT SELECT ON access_log_schema TO {role}")
    assert 'GRANT INSERT ON "access_log"' in await refused(database, POSTGRES_URL=url)
    database.query(f"GRANT INSERT ON access_log TO {role}")
    database.query(f"GRANT SELECT, INSERT ON access_log_offsets TO {role}")
    assert 'GRANT UPDATE ON "access_log_offsets"' in await refused(database, POSTGRES_URL=url)
    database.query(f"GRANT UPDATE ON access_log_offsets TO {role}")
    async with opened(database, POSTGRES_URL=url) as sink:
        for first in (0, 5):
            await sink.write(batch(first, 5))
            await sink.flush()
        database.query(f"REVOKE INSERT ON access_log FROM {role}")
        await sink.write(batch(10, 5))
        with pytest.raises(SinkUnavailable, match="permission denied"):
            await sink.flush()
        database.query(f"GRANT INSERT ON access_log TO {role}")
        await sink.flush()
    assert stored(database) == [*range(15)]


async def test_two_groups_on_one_table_are_refused(database: TestDatabase) -> None:
    async with opened(database) as one, opened(database, SERVICE_NAME="other") as other:
        await one.write(batch(0, 5))
        await one.flush()
        await other.write(batch(0, 5))
        with pytest.raises(FatalError, match="another group writes to it"):
            await other.flush()
    assert stored(database) == [*range(5)]


async def test_a_topic_made_anew_is_refused(database: TestDatabase) -> None:
    async with opened(database) as sink:
        await sink.write(batch(0, 100))
        await sink.flush()
        with pytest.raises(FatalError, match=r"up to offset 99, .* goes on at 0: it was made anew"):
            await sink.write(batch(0, 5, end_offset=5))


# Owners


async def test_what_is_stored_is_where_reading_begins(database: TestDatabase) -> None:
    """By group, topic and partition; the range of the batch counts, not its records."""
    async with opened(database) as sink:
        await sink.write(replace(batch(0, 5), next_offset=9))
        await sink.flush()
    async with opened(database) as sink:
        assert await sink.resume(TOPIC, [3, 4]) == {3: 9}
        assert await sink.resume("another", [3]) == {}
    async with opened(database, SERVICE_NAME="other") as sink:
        assert await sink.resume(TOPIC, [3]) == {}


async def test_a_batch_without_rows_moves_the_stored_offset(database: TestDatabase) -> None:
    """Also behind a transaction whose outcome is not known: that one is found out as it was."""
    async with opened(database) as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        await sink.skip(replace(batch(5, 5), first_offset=5, next_offset=10).without(range(5, 10)))
        await sink.flush()
    async with opened(database) as sink:
        assert await sink.resume(TOPIC, [3]) == {3: 10}
    assert stored(database) == [*range(5)]


@pytest.mark.parametrize("known", [True, False])
async def test_a_zombie_stores_nothing(database: TestDatabase, known: bool) -> None:
    """Its heir has gone on, from a stored offset or from none; of its other partitions it stores nothing either."""
    async with opened(database) as zombie, opened(database) as heir:
        first = 0
        if known:
            await zombie.write(batch(0, 5))
            await zombie.flush()
            first = 5
        await zombie.resume(TOPIC, [3, 4])
        await heir.resume(TOPIC, [3])
        await zombie.write(batch(first, 10))
        await zombie.write(batch(0, 10, partition=4))
        await heir.write(batch(first, 15))
        await heir.flush()
        for _ in range(2):
            with pytest.raises(OwnershipLost):
                await zombie.flush()
    assert stored(database) == [*range(first + 15)]


async def test_a_member_that_is_frozen_in_a_copy_is_ended(database: TestDatabase) -> None:
    """It holds its locks until somebody ends it: a timeout of the server does not reach it there."""
    copying = asyncio.Event()

    async def no_more_rows() -> AsyncIterator[tuple[int]]:
        copying.set()
        await asyncio.Event().wait()
        yield (1,)

    async with opened(database, POSTGRES_TIMEOUT_MS="1000") as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        frozen = await asyncpg.connect(database.server.url(database.name), password=PASSWORD)
        await frozen.execute("BEGIN; UPDATE access_log_offsets SET next_offset = next_offset")
        stuck = asyncio.create_task(
            frozen.copy_records_to_table("access_log", columns=["status"], records=no_more_rows())
        )
        await copying.wait()
        await sink.write(batch(5, 5))
        with pytest.raises(SinkUnavailable, match="lock timeout"):
            await sink.flush()
        await until_flushed(sink)
        frozen.terminate()
        stuck.cancel()
        await asyncio.wait({stuck})
        assert stuck.cancelled() or stuck.exception()
    assert stored(database) == [*range(10)]


async def until_flushed(sink: PostgresSink) -> None:
    """As the pipeline does: again and again."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await sink.flush()
            except SinkUnavailable:
                await asyncio.sleep(0.1)


# Outages


@pytest.fixture
def cutter(database: TestDatabase) -> Iterator[CommitCutter]:
    with cutting_commits(database.server.port) as cutter:
        yield cutter


@pytest.mark.parametrize("cut", Cut)
async def test_a_commit_that_nobody_hears_of_is_found_out(
    database: TestDatabase, cutter: CommitCutter, cut: Cut
) -> None:
    """It was done, or it is done again: each offset is stored once."""
    url = database.server.url(database.name, port=cutter.port)
    async with opened(database, POSTGRES_URL=url) as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        await sink.write(batch(5, 5))
        cutter.cuts.append(cut)
        with pytest.raises(SinkUnavailable):
            await sink.flush()
        assert cutter.done == [cut]
        await sink.write(batch(10, 5))  # what is unknown is found out first
        assert stored(database) == [*range(10)]
        await sink.flush()
    assert stored(database) == [*range(15)]


async def test_a_database_that_hangs_is_given_up_and_tried_again(database: TestDatabase) -> None:
    async with opened(database, POSTGRES_TIMEOUT_MS="500") as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        await sink.write(batch(5, 5))
        database.server.signal_all(signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(SinkUnavailable, match=r"has not answered within|cannot be reached"):
                    async with asyncio.timeout(5):
                        await sink.flush()
        finally:
            database.server.signal_all(signal.SIGCONT)
        await until_flushed(sink)
        async with asyncio.timeout(DEADLINE_S):  # the connections that were given up end
            while database.query(CONNECTIONS) != [(1,)]:
                await asyncio.sleep(0.05)
    assert stored(database) == [*range(10)]


async def test_a_flush_that_is_cancelled_is_found_out(database: TestDatabase) -> None:
    """A reassignment does that, when the database is slow."""
    async with opened(database) as sink:
        await sink.write(batch(0, 5))
        database.server.signal_all(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await sink.flush()
        finally:
            database.server.signal_all(signal.SIGCONT)
        await until_flushed(sink)
    assert stored(database) == [*range(5)]


async def test_a_server_that_is_killed_and_comes_back_has_each_record_once(
    database: TestDatabase, postgres_server: PostgresServer
) -> None:
    async with opened(database) as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        await sink.write(batch(5, 5))
        postgres_server.kill()
        with pytest.raises(SinkUnavailable):
            await sink.flush()
        with pytest.raises(SinkUnavailable):
            await sink.resume(TOPIC, [4])
        await asyncio.to_thread(postgres_server.start)
        await until_flushed(sink)
    assert stored(database) == [*range(10)]


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    database: TestDatabase, postgres_server: PostgresServer
) -> None:
    sink = make(database)
    postgres_server.kill()
    await sink.open()
    with pytest.raises(SinkUnavailable):
        await sink.resume(TOPIC, [3])
    await asyncio.to_thread(postgres_server.start)
    assert await sink.resume(TOPIC, [3]) == {}
    await sink.close()


async def test_a_database_that_is_read_only_is_waited_for(database: TestDatabase) -> None:
    """As behind a failover."""
    async with opened(database) as sink:
        await sink.write(batch(0, 5))
        database.query(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            database.name,
        )
        for _ in range(2):
            with pytest.raises(SinkUnavailable):
                await sink.flush()
        with pytest.raises(SinkUnavailable, match="read-only"):
            await sink.flush()
        database.server.query("postgres", f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
        await until_flushed(sink)
    assert stored(database) == [*range(5)]


async def test_no_connection_is_left_behind(database: TestDatabase) -> None:
    async with opened(database) as sink:
        await sink.write(batch(0, 5))
        await sink.flush()
        assert database.query(CONNECTIONS) == [(1,)]
    async with asyncio.timeout(DEADLINE_S):
        while database.query(CONNECTIONS) != [(0,)]:
            await asyncio.sleep(0.05)
