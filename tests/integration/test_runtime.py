"""The life of a process, from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.consumer_driver import ROOT
from tests.integration.producer_driver import EXIT_TIMEOUT_S


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
