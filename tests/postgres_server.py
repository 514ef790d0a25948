"""A real PostgreSQL for the session, and a database of its own for each test.

The server is Debian's, in a temporary folder, on a free port of 127.0.0.1. It refuses to run as root: the user
`postgres` of its package runs it then.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from compose.local.ports import LOOPBACK, free_port

PASSWORD = "a secret of the tests"
DEADLINE_S = 60.0
POLL_INTERVAL_S = 0.05
PROGRAMS = [Path(), Path("/usr/local/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def find_program(name: str) -> str:
    """Fails the test with what to install where it is missing: a test that is skipped shows nothing."""
    for folder in PROGRAMS:
        found = shutil.which(str(folder / name))
        if found:
            return found
    pytest.fail(f"{name} of PostgreSQL is not here; on Debian: apt-get install postgresql")


@dataclass
class PostgresServer:
    """One server; `start` and the signals may be called in any order that makes sense."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepare(cls) -> PostgresServer:
        """A new folder with a cluster in it. Not below the folder of pytest, which only its owner may enter."""
        directory = Path(tempfile.mkdtemp(prefix="postgres-test-"))
        password = directory / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (directory, password):
                shutil.chown(path, "postgres", "postgres")
        server = cls(directory, free_port())
        arguments = ["--auth=scram-sha-256", "--username=owner", f"--pwfile={password}", "--no-sync", "--encoding=UTF8"]
        # C.UTF-8 is there on every Debian; a locale of the machine may not be.
        arguments += ["--locale=C.UTF-8", "-D", str(server.data)]
        subprocess.run(
            [find_program("initdb"), *arguments], check=True, capture_output=True, timeout=DEADLINE_S, **_identity()
        )
        return server

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def url(self, database: str, user: str = "owner", port: int | None = None) -> str:
        return f"postgresql://{user}@{LOOPBACK}:{port or self.port}/{database}"

    def start(self, options: Mapping[str, str] | None = None) -> None:
        """Return when it answers. A server that was killed leaves processes for some moments: it is tried again."""
        wanted = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "fsync": "off", **(options or {})}
        command = [find_program("postgres"), "-D", str(self.data), "-p", str(self.port)]
        command += [word for name, value in wanted.items() for word in ("-c", f"{name}={value}")]
        give_up_at = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert time.monotonic() < give_up_at, (self.directory / "log").read_text()[-2000:]
            if self.process is None or self.process.poll() is not None:
                with (self.directory / "log").open("ab") as log:
                    self.process = subprocess.Popen(
                        command, stdout=log, stderr=log, cwd=self.directory, start_new_session=True, **_identity()
                    )
            time.sleep(POLL_INTERVAL_S)

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        try:
            return bool(self.query("postgres", "SELECT 1"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    def query(self, database: str, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """The rows, by a connection of its own; in a thread, because a test may have a loop that runs."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url(database), password=PASSWORD, timeout=DEADLINE_S)
            try:
                return [tuple(row) for row in await connection.fetch(statement, *arguments, timeout=DEADLINE_S)]
            finally:
                await connection.close(timeout=DEADLINE_S)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, ask()).result()

    def kill(self) -> None:
        """SIGKILL to every process, the postmaster first: one that outlived it for a moment could still commit."""
        assert self.process is not None
        self.signal_all(signal.SIGKILL)
        assert self.process.wait(DEADLINE_S) == -signal.SIGKILL

    def signal_all(self, number: int) -> None:
        """To every process of the server: stop and go on."""
        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal_all(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(DEADLINE_S)
        shutil.rmtree(self.directory)


def _identity() -> dict[str, Any]:
    """Whom the server runs as, for subprocess: its user's groups instead of root's."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "umask": 0o077}


@dataclass(frozen=True)
class TestDatabase:
    """An empty database, and a file with the password."""

    __test__ = False

    server: PostgresServer
    name: str
    password_file: Path

    @property
    def settings(self) -> dict[str, str]:
        """For a consumer."""
        return {
            "SINK": "postgres",
            "POSTGRES_URL": self.server.url(self.name),
            "POSTGRES_PASSWORD_FILE": str(self.password_file),
        }

    def query(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self.server.query(self.name, statement, *arguments)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Running."""
    server = PostgresServer.prepare()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[TestDatabase]:
    """A database of this test, removed after it."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    password_file = tmp_path / "postgres-password"
    password_file.write_text(f"{PASSWORD}\n")
    postgres_server.query("postgres", f"CREATE DATABASE {name}")
    yield TestDatabase(postgres_server, name, password_file)
    postgres_server.start()  # the test may have stopped it
    postgres_server.query("postgres", f"DROP DATABASE {name} WITH (FORCE)")
