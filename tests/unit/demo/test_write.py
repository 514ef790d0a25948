"""The writer of lines: whole lines, a bounded file, a clear error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.demo.traffic import make_traffic
from services.demo.write import Writer
from shared.errors import FatalError
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown

DEADLINE_S = 10.0


def make_writer(path: Path, limit_bytes: int = 1_000_000) -> Writer:
    return Writer(path, limit_bytes, make_traffic(seed=1), Health(time.monotonic, 30.0))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_append_adds_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = make_writer(path)
    writer.append(3, datetime.now(UTC))
    writer.append(2, datetime.now(UTC))
    content = path.read_bytes()
    assert content.count(b"\n") == 5 == writer.lines_written
    assert content.endswith(b"\n")


def test_a_full_file_is_renamed_and_a_new_one_begun(tmp_path: Path) -> None:
    """As logrotate does it; what reads the old file can finish it."""
    path = tmp_path / "access.log"
    writer = make_writer(path, limit_bytes=1)
    writer.append(2, datetime.now(UTC))
    assert not path.exists()
    writer.append(1, datetime.now(UTC))
    assert (tmp_path / "access.log.1").read_bytes().count(b"\n") == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "access.log"
    with pytest.raises(FatalError, match=r"absent/access\.log: No such file or directory"):
        make_writer(path).append(1, datetime.now(UTC))


async def test_run_writes_at_its_rate_until_the_shutdown(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = make_writer(path)
    shutdown = Shutdown()
    started_at = time.monotonic()
    running = asyncio.create_task(writer.run(200.0, shutdown))
    await until(lambda: writer.lines_written >= 40)
    took_s = time.monotonic() - started_at
    shutdown.request()
    await asyncio.wait_for(running, DEADLINE_S)
    assert took_s > 0.15
    assert path.read_bytes().count(b"\n") == writer.lines_written
