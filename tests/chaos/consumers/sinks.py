"""The sinks under test: how a replica is told to use one, and how what it wrote is read by other means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
from confluent_kafka.admin import AdminClient, NewTopic

from tests.chaos.consumers.audit import Taken
from tests.chaos.consumers.numbered import number_in_path
from tests.chaos.kafka import ADMIN_TIMEOUT_S, PARTITION_COUNT
from tests.chaos.mounts import mount_small, unmount
from tests.chaos.proxy import Proxy
from tests.chaos.reading import read_topics
from tests.chaos.scene import NotRun
from tests.postgres_server import PASSWORD as POSTGRES_PASSWORD
from tests.postgres_server import PostgresServer

ARCHIVE_BYTES = 64_000_000
FILL_BYTES = 65_536
HANDLER = "tests.chaos.consumers.handler_to_file:handle"


@dataclass(frozen=True)
class Place:
    """Where a sink of one scenario is. `folder` is there and empty."""

    folder: Path
    run: str
    bootstrap_servers: str


class SinkUnderTest(Protocol):
    """One sink of one scenario."""

    @property
    def name(self) -> str: ...

    @property
    def exactly_once(self) -> bool: ...

    def settings(self) -> Mapping[str, str]:
        """For every replica."""

    def read(self) -> Iterator[Taken]:
        """Everything that it has, in its own order."""

    def go(self) -> str:
        """Be away from now on; what was done to it, as evidence."""

    def come_back(self) -> None:
        """Be there again."""

    def close(self) -> None:
        """Undo what was set up."""


class HandlerToFile:
    """A user's function that appends to a file per process; its lines carry the moment, to be put in order."""

    name = "handler"
    exactly_once = False

    def __init__(self, place: Place) -> None:
        self.folder = place.folder
        self._run = place.run

    def settings(self) -> Mapping[str, str]:
        return {"HANDLER": HANDLER, "CHAOS_SINK": str(self.folder)}

    def read(self) -> Iterator[Taken]:
        lines: list[tuple[int, int, str]] = []
        for file in sorted(self.folder.glob("*.taken")):
            for line in file.read_text().splitlines():
                moment_ns, _, path = line.partition(" ")
                lines.append((int(moment_ns), len(lines), path))
        for _moment_ns, _order, path in sorted(lines):
            yield Taken(number_in_path(self._run, path))

    def go(self) -> str:
        (self.folder / "down").touch()
        return "the function raised ConnectionError"

    def come_back(self) -> None:
        (self.folder / "down").unlink()

    def close(self) -> None:
        """Nothing to undo."""


class Archive:
    """Parquet files on a small file system of their own; read by DuckDB."""

    name = "archive"
    exactly_once = True

    def __init__(self, place: Place) -> None:
        self._folder = place.folder / "archive"
        self._folder.mkdir()
        mount_small(self._folder, ARCHIVE_BYTES)
        self._filler = self._folder / "filler"
        self._run = place.run

    def settings(self) -> Mapping[str, str]:
        return {"SINK": "archive", "ARCHIVE_DIR": str(self._folder), "ARCHIVE_COMPACT_AFTER_S": "2"}

    def read(self) -> Iterator[Taken]:
        query = f"""
            SELECT path, kafka_partition, kafka_offset
            FROM read_parquet('{self._folder}/*/*/*/*.parquet') ORDER BY kafka_partition, kafka_offset
        """
        with duckdb.connect() as connection:
            rows = connection.execute(query).fetchall()
        for path, partition, offset in rows:
            yield Taken(number_in_path(self._run, path), (partition, offset))

    def go(self) -> str:
        """Fill its file system in the middle of whatever is written."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(FILL_BYTES)):
                pass
        return "its disk was full"

    def come_back(self) -> None:
        self._filler.unlink()

    def close(self) -> None:
        unmount(self._folder)


class ToTopic:
    """Another topic, read by confluent-kafka as read_committed."""

    name = "kafka"
    exactly_once = True

    def __init__(self, place: Place) -> None:
        self._servers = place.bootstrap_servers
        self._run = place.run
        self._topic = f"sink-{place.run}"
        self._admin = AdminClient({"bootstrap.servers": self._servers, "log_level": 0})
        for future in self._admin.create_topics([NewTopic(self._topic, PARTITION_COUNT, 1)]).values():
            future.result(ADMIN_TIMEOUT_S)

    def settings(self) -> Mapping[str, str]:
        return {"SINK": "kafka", "KAFKA_SINK_TOPIC": self._topic}

    def read(self) -> Iterator[Taken]:
        for record in read_topics(self._servers, {self._topic: False}, isolation_level="read_committed"):
            place = int(record.headers["original-partition"]), int(record.headers["original-offset"])
            yield Taken(number_in_path(self._run, json.loads(record.value)["path"]), place)

    def go(self) -> str:
        raise NotRun("its broker is the source's broker: broker_killed_under_the_group")

    def come_back(self) -> None:
        """It never went."""

    def close(self) -> None:
        for future in self._admin.delete_topics([self._topic]).values():
            future.result(ADMIN_TIMEOUT_S)


class Postgres:
    """A table, behind a proxy that cuts connections; read by SQL."""

    name = "postgres"
    exactly_once = True

    def __init__(self, place: Place) -> None:
        self._run = place.run
        self._password_file = place.folder / "password"
        self._password_file.write_text(POSTGRES_PASSWORD)
        self.server = PostgresServer.prepare()
        self.server.start()
        self.server.query("postgres", "CREATE DATABASE records")
        self._proxied = ExitStack()
        self.proxy = self._proxied.enter_context(Proxy(self.server.port))

    def settings(self) -> Mapping[str, str]:
        return {
            "SINK": "postgres",
            "POSTGRES_URL": self.server.url("records", port=self.proxy.port),
            "POSTGRES_PASSWORD_FILE": str(self._password_file),
            "POSTGRES_TIMEOUT_MS": "3000",
        }

    def read(self) -> Iterator[Taken]:
        for path, partition, offset in self.server.query(
            "records",
            "SELECT path, kafka_partition, kafka_offset FROM access_log ORDER BY kafka_partition, kafka_offset",
        ):
            yield Taken(number_in_path(self._run, path), (partition, offset))

    def go(self) -> str:
        self.server.kill()
        return "SIGKILL ended the database"

    def come_back(self) -> None:
        self.server.start()

    def close(self) -> None:
        self._proxied.close()
        self.server.remove()


SINKS: Mapping[str, Callable[[Place], SinkUnderTest]] = {
    "handler": HandlerToFile,
    "archive": Archive,
    "kafka": ToTopic,
    "postgres": Postgres,
}
