"""RabbitMQ's program, the same for all its modes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.brokers.program import Program, disk_bytes, own_port
from bench.errors import BenchmarkFailed
from compose.local.ports import LOOPBACK

ROOTS = (Path("/usr/lib"), Path("/opt"))
HOME_PATTERNS = ("rabbitmq/lib/rabbitmq_server-*", "rabbitmq_server-*")
"""Of packages, and of archives: the script in /usr/sbin changes the user, that in sbin of these folders does not."""
HOW_TO_GET = (
    "on Debian apt-get install rabbitmq-server, whose service need not run; for a newer version unpack its generic "
    "archive for Unix below /opt, the highest version found is taken"
)
PLUGINS = "[rabbitmq_consistent_hash_exchange,rabbitmq_stream].\n"
USER = "guest"
"""RabbitMQ's own first user, who may come from loopback only; the password is the same."""


WATCHED = "to be watched are queues that grow, and the alarms of memory and disk"
MEMORY = "it stops publishers at 0.4 of the machine's memory (vm_memory_high_watermark)"


def find_home(roots: Iterable[Path] = ROOTS) -> Path | None:
    """The folder of the highest version."""
    found = (home for root in roots for pattern in HOME_PATTERNS for home in root.glob(pattern))
    return max((home for home in found if (home / "sbin/rabbitmq-server").exists()), key=version_of, default=None)


def version_of(home: Path) -> tuple[int, ...]:
    """By the folder's name."""
    return tuple(map(int, re.findall(r"\d+", home.name)))


def find_version() -> str | None:
    """With that of Erlang."""
    home, erlang = find_home(), find_erlang()
    if home is None or erlang is None or shutil.which("epmd") is None:
        return None
    releases = [path.read_text().strip() for path in erlang.glob("releases/*/OTP_VERSION")]
    return f"{'.'.join(map(str, version_of(home)))} on Erlang/OTP {max(releases, default='of unknown version')}"


def find_erlang() -> Path | None:
    """The folder of the runtime."""
    program = shutil.which("erl")
    return None if program is None else Path(program).resolve().parents[1]


class RabbitBroker:
    """One node with a port mapper of its own, both on loopback only. The address is `AMQP_PORT,STREAM_PORT`."""

    def __init__(self, folder: Path) -> None:
        home = find_home()
        if home is None:
            raise BenchmarkFailed("there is no rabbitmq-server")
        self._home = home
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
            [str(self._home / "sbin/rabbitmq-server")],
            _environment(folder, mapper, distribution),
            folder / "rabbitmq.log",
            [amqp, stream],
        )

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def pids(self) -> Sequence[int]:
        return (self.pid, self._mapper.pid)

    def start(self) -> None:
        """The port mapper forgets a killed node by itself and lives through it."""
        if not self._mapper.runs:
            self._mapper.start()
        self._program.start()

    def kill(self) -> None:
        self._program.kill()

    def stop(self) -> None:
        try:
            self._program.stop()
        finally:
            self._mapper.stop()

    def disk_bytes(self) -> int:
        return disk_bytes(self._data)

    def installed_bytes(self) -> int:
        erlang = find_erlang()
        return disk_bytes(self._home) + (disk_bytes(erlang) if erlang is not None else 0)


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
