"""What an earlier run left behind is stopped, with its children and in an order in which nothing waits in vain."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compose.local.broker import BROKER_CLASS, ZOOKEEPER_CLASS
from compose.local.manager import stop_orphans
from tests.repository import run_group

# Tells when it was told to stop, and takes its time.
PROGRAM = """
import signal, sys, time
def stop(*_arguments):
    begun = time.monotonic()
    time.sleep(0.3)
    open(sys.argv[1], "w").write(f"{begun} {time.monotonic()}")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
open(sys.argv[1] + ".ready", "w").close()
time.sleep(60)
"""
DEADLINE_S = 20.0


def until_there(file: Path) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not file.exists():
        assert time.monotonic() < give_up_at, file
        time.sleep(0.02)


def test_services_stop_before_the_brokers_and_those_before_zookeeper(tmp_path: Path) -> None:
    """A broker signs off at ZooKeeper; without it, it would wait until it is killed."""
    names = (ZOOKEEPER_CLASS, BROKER_CLASS, "services.consumer")
    children = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path / name), name]) for name in names]
    try:
        for name in names:
            until_there(tmp_path / f"{name}.ready")
        stop_orphans([psutil.Process(child.pid) for child in children])
        zookeeper, broker, service = ([float(at) for at in (tmp_path / name).read_text().split()] for name in names)
        assert service[1] < broker[0] < broker[1] < zookeeper[0]
    finally:
        for child in children:
            child.kill()
            child.wait(DEADLINE_S)


def test_a_verb_of_the_tests_that_takes_too_long_goes_with_its_children(tmp_path: Path) -> None:
    """A child that lives on would hold the outputs open, and the machine busy."""
    script = f"sleep 60 & echo $! > {tmp_path / 'child'}; wait"
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run_group(["sh", "-c", script], tmp_path, {"PATH": "/usr/bin:/bin"}, 1.0)
    assert time.monotonic() - begun < DEADLINE_S
    child = int((tmp_path / "child").read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - begun < DEADLINE_S
        time.sleep(0.02)
