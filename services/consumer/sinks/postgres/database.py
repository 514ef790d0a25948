"""The one connection of a replica. The only import of asyncpg.

It is made when it is needed. Whatever fails on it, a time limit included, ends it: the server then rolls back what was
not committed, and the next call begins with a new connection. So no state of a failed one is ever gone on with.

A member that was stopped (SIGSTOP) in the middle of a COPY keeps its locks, and no timeout of the server reaches it
there. No living member keeps a transaction for longer than its limit: older ones that wait for their client are ended
by whoever connects next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from asyncpg import Connection

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.postgres.failures import Meaning, rule_of
from services.consumer.sinks.postgres.holdings import Move
from services.consumer.sinks.postgres.migrations import TableNames, migrations
from services.consumer.sinks.postgres.rows import COLUMNS, Row
from shared.errors import FatalError, InvalidSettings, OwnershipLost, SinkUnavailable

# How long a call that was given up may take to notice that its connection is gone.
LET_GO_TIMEOUT_S = 1.0
CLOSE_TIMEOUT_S = 2.0
# A living member may be late by its clock, a loaded machine and the way of the bytes.
FROZEN_AFTER_LIMITS = 2

Result = TypeVar("Result")


class Database:
    """Where rows and offsets of one consumer group go. Every call raises SinkUnavailable or FatalError."""

    def __init__(
        self,
        url: str,
        password_file: Path | None,
        names: TableNames,
        group: str,
        client_id: str,
        limit_s: float,
    ) -> None:
        self._url = url
        self._password_file = password_file
        self._names = names
        self._group = group
        self._client_id = client_id
        self._limit_s = limit_s
        self._connection: Connection | None = None
        self._is_set_up = False

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> Database:
        assert settings.postgres_url is not None, "settings refuse SINK=postgres without POSTGRES_URL"
        return cls(
            settings.postgres_url.get_secret_value(),
            settings.postgres_password_file,
            TableNames.parse(settings.postgres_table),
            settings.group_id,
            settings.client_id,
            settings.postgres_timeout_ms / 1000,
        )

    @property
    def table(self) -> str:
        """For messages."""
        return self._names.records

    async def try_to_connect(self) -> None:
        """Find out at the start what is wrong with the settings. A database that is away may come later."""
        try:
            await self._connected()
        except SinkUnavailable:
            return

    async def stored_offsets(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """The next offset by partition, of those that are stored."""
        connection = await self._connected()
        statement = (
            f"SELECT partition, next_offset FROM {self._names.offsets} "  # noqa: S608 - a checked name
            "WHERE consumer_group = $1 AND topic = $2 AND partition = ANY($3::integer[])"
        )
        found = await self._limited(connection.fetch(statement, self._group, topic, list(partitions)))
        return {row["partition"]: row["next_offset"] for row in found}

    async def store(self, topic: str, moves: Sequence[Move], rows: Iterable[Row]) -> None:
        """Rows and offsets in one transaction. Raises OwnershipLost, and has stored nothing, when an offset has moved.

        After any other error the outcome is unknown.
        """
        connection = await self._connected()
        await self._limited(self._transaction(connection, topic, moves, rows))

    async def _transaction(
        self, connection: Connection, topic: str, moves: Sequence[Move], rows: Iterable[Row]
    ) -> None:
        await connection.execute("BEGIN")
        # Before the rows: who is late waits for the locks of these, and copies nothing.
        moved = await self._move_offsets(connection, topic, moves)
        if moved != len(moves):
            raise OwnershipLost(f"another member has stored {len(moves) - moved} of these partitions of {topic}")
        await connection.copy_records_to_table(
            self._names.table, schema_name=self._names.schema, columns=COLUMNS, records=rows
        )
        await connection.execute("COMMIT")

    async def _move_offsets(self, connection: Connection, topic: str, moves: Sequence[Move]) -> int:
        """How many of them were where they are expected."""
        known = [move for move in moves if move.expected is not None]
        fresh = [move for move in moves if move.expected is None]
        count = 0
        if known:
            status = await connection.execute(
                f"UPDATE {self._names.offsets} AS stored SET next_offset = move.next_offset "  # noqa: S608
                "FROM unnest($3::integer[], $4::bigint[], $5::bigint[]) AS move (partition, expected, next_offset) "
                "WHERE stored.consumer_group = $1 AND stored.topic = $2 "
                "AND stored.partition = move.partition AND stored.next_offset = move.expected",
                self._group,
                topic,
                [move.partition for move in known],
                [move.expected for move in known],
                [move.next_offset for move in known],
            )
            count += _affected(status)
        if fresh:
            status = await connection.execute(
                f"INSERT INTO {self._names.offsets} (consumer_group, topic, partition, next_offset) "  # noqa: S608
                "SELECT $1, $2, move.partition, move.next_offset "
                "FROM unnest($3::integer[], $4::bigint[]) AS move (partition, next_offset) ON CONFLICT DO NOTHING",
                self._group,
                topic,
                [move.partition for move in fresh],
                [move.next_offset for move in fresh],
            )
            count += _affected(status)
        return count

    async def close(self) -> None:
        """Say good-bye, for at most CLOSE_TIMEOUT_S."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=CLOSE_TIMEOUT_S)
            except (asyncpg.PostgresError, *_CLIENT_ERRORS):
                connection.terminate()

    # The connection

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            self._connection = await self._limited(self._connect())
            await self._limited(self._set_up(self._connection))
            self._is_set_up = True
        return self._connection

    async def _connect(self) -> Connection:
        limit_ms = str(round(self._limit_s * 1000))
        return await asyncpg.connect(
            self._url,
            password=self._read_password(),
            timeout=self._limit_s,
            server_settings={
                "application_name": self._client_id[:63],
                # What this client has given up is given up there, too.
                "statement_timeout": limit_ms,
                "idle_in_transaction_session_timeout": limit_ms,
                # Shorter: what is in the way is named, instead of "no answer".
                "lock_timeout": str(round(self._limit_s * 500)),
            },
        )

    def _read_password(self) -> str | None:
        """Read at each connection: a secret may be changed under a running service."""
        if self._password_file is None:
            return None
        try:
            return self._password_file.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            kind = SinkUnavailable if self._is_set_up else InvalidSettings
            raise kind(
                f"POSTGRES_PASSWORD_FILE={self._password_file} cannot be read: {type(error).__name__}."
            ) from error

    async def _set_up(self, connection: Connection) -> None:
        if not self._is_set_up:
            await self._migrate(connection)
            await self._check_privileges(connection)
        await self._end_frozen_members(connection)

    async def _migrate(self, connection: Connection) -> None:
        """Make the tables what this program knows. Replicas that start together do it one after the other."""
        known = migrations(self._names)
        await connection.execute("BEGIN")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", self._names.versions)
        version = await self._version(connection)
        if version > known[-1].version:
            raise FatalError(
                f"table {self._names.records} has version {version}, and this program knows {known[-1].version}: a "
                "newer one has made it. Run that one here too, or set POSTGRES_TABLE to another table."
            )
        for migration in known[version:]:
            for statement in migration.statements:
                await connection.execute(statement)
            await connection.execute(
                f"INSERT INTO {self._names.versions} (version) VALUES ($1)",  # noqa: S608
                migration.version,
            )
        await connection.execute("COMMIT")

    async def _version(self, connection: Connection) -> int:
        """Of the tables; 0 before the first migration."""
        # Asked first: CREATE TABLE IF NOT EXISTS needs a right that careful operators take away after the first start.
        if await connection.fetchval("SELECT to_regclass($1::text) IS NULL", self._names.versions):
            await connection.execute(
                f"CREATE TABLE {self._names.versions} "
                "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
        version: int = await connection.fetchval(
            f"SELECT coalesce(max(version), 0) FROM {self._names.versions}"  # noqa: S608
        )
        return version

    async def _check_privileges(self, connection: Connection) -> None:
        """What is lacking is told at the start, not at the first record."""
        for table, wanted in (
            (self._names.records, ("INSERT",)),
            (self._names.offsets, ("SELECT", "INSERT", "UPDATE")),
        ):
            for privilege in wanted:
                if not await connection.fetchval("SELECT has_table_privilege($1::text, $2::text)", table, privilege):
                    raise FatalError(
                        f"the user of POSTGRES_URL={self._url} may not {privilege} on {table}. "
                        f"Grant it: GRANT {privilege} ON {table} TO its role."
                    )

    async def _end_frozen_members(self, connection: Connection) -> None:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid) "
            "WHERE relation = $1::text::regclass AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid() "
            "AND wait_event = 'ClientRead' AND xact_start < clock_timestamp() - $2::float8 * interval '1 second'",
            self._names.offsets,
            self._limit_s * FROZEN_AFTER_LIMITS,
        )

    # Limits and errors

    async def _limited(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`. Anything else ends the connection, and comes out as one of our errors."""
        task = asyncio.create_task(work)
        succeeded = False
        try:
            await asyncio.wait({task}, timeout=self._limit_s)
            if not task.done():
                raise SinkUnavailable(f"{self._url} has not answered within POSTGRES_TIMEOUT_MS")
            result = task.result()
            succeeded = True
        except asyncpg.PostgresError as error:
            raise self._translate(error) from error
        except asyncpg.exceptions.ClientConfigurationError as error:
            raise InvalidSettings(f"POSTGRES_URL={self._url} is not allowed: {error}") from error
        except _CLIENT_ERRORS as error:
            raise SinkUnavailable(f"{self._url} cannot be reached: {str(error) or type(error).__name__}") from error
        finally:
            if not succeeded:
                await self._let_go(task)
        return result

    async def _let_go(self, task: asyncio.Task[Any]) -> None:
        """Cut the connection first: a call that is only cancelled would wait for a server that may never answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
        if not task.done():
            task.add_done_callback(_disregard)
            task.cancel()
            await asyncio.wait({task}, timeout=LET_GO_TIMEOUT_S)

    def _translate(self, error: asyncpg.PostgresError) -> SinkUnavailable | FatalError:
        sqlstate = error.sqlstate or ""
        rule = rule_of(sqlstate)
        said = f"{self._url}: {error.args[0]} ({sqlstate})"
        if rule.meaning is Meaning.AWAY:
            return SinkUnavailable(said)
        if rule.meaning is Meaning.REFUSED and self._is_set_up:
            return SinkUnavailable(f"{said}. {rule.advice}")
        return FatalError(f"{said}. {rule.advice}")


# What a call may raise besides what the server says: the network, and a connection that ended under it.
_CLIENT_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def _disregard(task: asyncio.Task[Any]) -> None:
    """What a call that was given up fails with is of no interest, and asyncio would print it."""
    if not task.cancelled():
        task.exception()


def _affected(status: str) -> int:
    """Rows, from `UPDATE 3` or `INSERT 0 3`."""
    return int(status.rsplit(" ", 1)[1])
