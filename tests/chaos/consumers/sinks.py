"""The sinks under test: how a replica is told to use one, and how what it wrote is read by other means."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
from confluent_kafka.admin import AdminClient, NewTopic

from tests.chaos.auditor import Audit
from tests.chaos.consumers.alarms import RULES, Told, audit_alarms, expected, request
from tests.chaos.consumers.audit import SinkRules, Taken, audit_sink
from tests.chaos.consumers.numbered import number_in_path, value_of
from tests.chaos.consumers.webhook import LOOPBACK
from tests.chaos.kafka import ADMIN_TIMEOUT_S, PARTITION_COUNT
from tests.chaos.mounts import mount_small, unmount
from tests.chaos.proxy import Proxy
from tests.chaos.reading import read_topics
from tests.chaos.scene import NotRun
from tests.integration.commit_cutter import cutting_commits
from tests.integration.consumer_driver import ROOT
from tests.postgres_server import PASSWORD as POSTGRES_PASSWORD
from tests.postgres_server import PostgresServer

ARCHIVE_BYTES = 64_000_000
FILL_BYTES = 65_536
# What a full disk has left: a write begins, and fails in the middle.
ROOM_BYTES = 8_192
END_TIMEOUT_S = 10.0
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

    def value_of(self, number: int) -> bytes:
        """What is published."""

    def owes(self, places: Mapping[int, tuple[int, int]]) -> int:
        """How much is still to come although all of it is committed."""

    def audit(self, places: Mapping[int, tuple[int, int]], rules: SinkRules, deaths: int) -> Audit:
        """All that was published against all that it has. `deaths`: how many processes were killed."""

    def go(self) -> str:
        """Be away from now on; what was done to it, as evidence."""

    def come_back(self) -> None:
        """Be there again."""

    def close(self) -> None:
        """Undo what was set up."""


class OfRecords(ABC):
    """A sink that holds records: what is committed is there."""

    _run: str

    def value_of(self, number: int) -> bytes:
        return value_of(self._run, number)

    def owes(self, _places: Mapping[int, tuple[int, int]]) -> int:
        return 0

    def audit(self, places: Mapping[int, tuple[int, int]], rules: SinkRules, _deaths: int) -> Audit:
        return audit_sink(places, self.read(), rules)

    @abstractmethod
    def read(self) -> Iterator[Taken]:
        """Everything that it has, in its own order."""


class HandlerToFile(OfRecords):
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


class Archive(OfRecords):
    """Parquet files on a small file system of their own, where one can be mounted; read by DuckDB."""

    name = "archive"
    exactly_once = True

    def __init__(self, place: Place) -> None:
        self._folder = place.folder / "archive"
        self._folder.mkdir()
        self._never_full: NotRun | None = None
        try:
            mount_small(self._folder, ARCHIVE_BYTES)
        except NotRun as reason:
            self._never_full = reason
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
        """Fill its file system in the middle of whatever is written. Raises NotRun when that is the machine's."""
        if self._never_full is not None:
            raise self._never_full
        with self._filler.open("wb", buffering=0) as file:
            with suppress(OSError):
                while file.write(bytes(FILL_BYTES)):
                    pass
            file.truncate(file.tell() - ROOM_BYTES)
        return f"its disk was full but for {ROOM_BYTES:,} bytes"

    def come_back(self) -> None:
        self._filler.unlink()

    def close(self) -> None:
        unmount(self._folder)


class ToTopic(OfRecords):
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


class Postgres(OfRecords):
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
        self.cutter = self._proxied.enter_context(cutting_commits(self.proxy.port))

    def settings(self) -> Mapping[str, str]:
        return {
            "SINK": "postgres",
            "POSTGRES_URL": self.server.url("records", port=self.cutter.port),
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


class Alarms:
    """Alarms to a webhook, which is a process of its own; read from what that process noted."""

    name = "alerts"
    exactly_once = False

    def __init__(self, place: Place) -> None:
        self._folder = place.folder
        self._run = place.run
        with socket.create_server((LOOPBACK, 0)) as found:
            self._port = found.getsockname()[1]
        (self._folder / "rules.toml").write_text(RULES)
        self._process: subprocess.Popen[bytes] | None = None
        self.answer("works")
        self.come_back()

    def settings(self) -> Mapping[str, str]:
        return {
            "SINK": "alerts",
            "ALERTS_DIR": str(self._folder / "state"),
            "ALERTS_FILE": str(self._folder / "rules.toml"),
            "ALERTS_WEBHOOK_URL": f"http://{LOOPBACK}:{self._port}/",
        }

    def value_of(self, number: int) -> bytes:
        return request(self._run, number)

    def owes(self, places: Mapping[int, tuple[int, int]]) -> int:
        told = {one.name for one in self.read()}
        return len(expected(dict(places)).keys() - told)

    def audit(self, places: Mapping[int, tuple[int, int]], rules: SinkRules, deaths: int) -> Audit:
        return audit_alarms(places, self.read(), rules, deaths)

    def read(self) -> Iterator[Told]:
        """Everything that the webhook took. A line that its own death cut was not answered."""
        for line in self._lines("told"):
            found = json.loads(line)
            yield Told(found["key"], found["body"])

    def turned_away(self, mode: str) -> int:
        """How many attempts it answered with an error, or not at all."""
        return sum(json.loads(line)["mode"] == mode for line in self._lines("turned_away"))

    def _lines(self, name: str) -> list[bytes]:
        file = self._folder / name
        text = file.read_bytes() if file.exists() else b""
        return text[: text.rfind(b"\n") + 1].splitlines()

    def answer(self, mode: str) -> None:
        """From now on: see webhook.py."""
        fresh = self._folder / "mode.new"
        fresh.write_text(mode)
        fresh.rename(self._folder / "mode")

    def go(self) -> str:
        assert self._process is not None
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        return "the webhook refused connections"

    def come_back(self) -> None:
        program = (sys.executable, "-m", "tests.chaos.consumers.webhook", str(self._port), str(self._folder))
        self._process = subprocess.Popen(program, cwd=ROOT)

    def close(self) -> None:
        self.go()


SINKS: Mapping[str, Callable[[Place], SinkUnderTest]] = {
    "handler": HandlerToFile,
    "archive": Archive,
    "kafka": ToTopic,
    "postgres": Postgres,
    "alerts": Alarms,
}
