"""The life of a process, from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.consumer_driver import ROOT, until
from tests.integration.producer_driver import EXIT_TIMEOUT_S

BLOCKED = """
import asyncio, time
import services.topics.settings as settings
from shared.runtime import lifecycle, watchdog
watchdog.BLOCKED_AFTER_S = 2.0

async def serve(_settings, shutdown):
    {body}

raise SystemExit(lifecycle.main(settings.TopicsSettings, "", serve))
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("time.sleep(3600)", "the event loop was blocked"),
        ("await shutdown.wait(); await asyncio.to_thread(time.sleep, 3600)", "the shutdown took longer"),
    ],
)
def test_a_service_that_cannot_end_by_itself_is_ended(body: str, reason: str) -> None:
    """A blocked loop hears no signal, and a thread that hangs is waited for by the interpreter."""
    program = BLOCKED.replace("{body}", body)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "SHUTDOWN_TIMEOUT_S": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        if "shutdown" in body:
            wait_for_handlers(process)
            process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 1
        told = process.stderr.read().decode()
        assert reason in told
        assert "sleep" in told or "Thread" in told


def wait_for_handlers(process: subprocess.Popen[bytes]) -> None:
    """Until the process catches SIGTERM (bit 14 of SigCgt)."""
    status = Path(f"/proc/{process.pid}/status")

    def caught() -> bool:
        mask = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    until(caught, "the handler of SIGTERM")


def test_a_service_ends_cleanly_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    """A process manager that was killed leaves a broken pipe; SIGTERM must still drain and exit with 0."""
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "LOG_FILES": str(tmp_path / "*.log"),
        "CHECKPOINT_FILE": str(tmp_path / "checkpoint.json"),
        "HTTP_PORT": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "services.producer"], env=environment, cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0
