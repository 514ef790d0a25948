"""RabbitMQ's program, the same for all its modes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from bench.brokers.program import Program, disk_bytes, own_port
from compose.local.ports import LOOPBACK

PROGRAM_PATTERNS = ("rabbitmq/bin/rabbitmq-server", "rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
"""Below /usr/lib and /opt: the script in /usr/sbin changes the user."""
HOW_TO_GET = "on Debian: apt-get install rabbitmq-server; its service need not run"
PLUGINS = "[rabbitmq_consistent_hash_exchange,rabbitmq_stream].\n"
USER = "guest"
"""RabbitMQ's own first user, who may come from loopback only; the password is the same."""


def find_program() -> Path | None:
    """The server's own script."""
    for root in (Path("/usr/lib"), Path("/opt")):
        for pattern in PROGRAM_PATTERNS:
            if found := sorted(root.glob(pattern)):
                return found[-1]
    return None


def find_version() -> str | None:
    """From the folder that the plugins lie in."""
    program = find_program()
    if program is None or shutil.which("epmd") is None:
        return None
    folders = [*program.parents[1].glob("lib/rabbitmq_server-*"), program.parents[1]]
    versions = [found[1] for folder in folders if (found := re.search(r"rabbitmq_server-([\d.]+)", folder.name))]
    return max(versions, default=None)


class RabbitBroker:
    """One node with a port mapper of its own, both on loopback only. The address is `AMQP_PORT,STREAM_PORT`."""

    def __init__(self, folder: Path) -> None:
        amqp, stream, mapper, distribution = (own_port() for _ in range(4))
        self.address = f"{amqp},{stream}"
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        _write_files(folder, amqp, stream)
        self._mapper = Program(
            [shutil.which("epmd") or "epmd", "-address", LOOPBACK, "-port", str(mapper)],
            {},
            folder / "epmd.log",
            [mapper],
        )
        self._program = Program(
            [str(find_program())],
            _environment(folder, mapper, distribution),
            folder / "rabbitmq.log",
            [amqp, stream],
        )

    @property
    def pid(self) -> int:
        return self._program.pid

    def start(self) -> None:
        """The port mapper forgets a killed node by itself and lives through it."""
        if not self._mapper.runs:
            self._mapper.start()
        self._program.start()

    def kill(self) -> None:
        self._program.kill()

    def stop(self) -> None:
        self._program.stop()
        self._mapper.stop()

    def disk_bytes(self) -> int:
        return disk_bytes(self._data)


def _write_files(folder: Path, amqp: int, stream: int) -> None:
    settings = {
        "listeners.tcp.1": f"{LOOPBACK}:{amqp}",
        "stream.listeners.tcp.1": f"{LOOPBACK}:{stream}",
        # What clients of streams are told to connect to.
        "stream.advertised_host": LOOPBACK,
        "stream.advertised_port": str(stream),
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
    }
    (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (folder / "enabled_plugins").write_text(PLUGINS)
    cookie = folder / ".erlang.cookie"
    cookie.write_text("comparison")
    cookie.chmod(0o400)


def _environment(folder: Path, mapper: int, distribution: int) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"broker{mapper}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        # The script then becomes the node instead of watching over it: the process id is the node's.
        "RABBITMQ_ALLOW_INPUT": "true",
    }
