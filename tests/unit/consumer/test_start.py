"""What the service refuses to start with, and what it says then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HTTP_PORT": "0", **settings}
    command = [sys.executable, "-m", "services.consumer", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "SERVICE_NAME is not set. It is required: Name of this service"),
        ({"SERVICE_NAME": "a", "SINK": "teletype"}, "SINK='teletype' is not allowed"),
        ({"SERVICE_NAME": "a", "SINK": "handler"}, "SINK=handler needs HANDLER=package.module:function"),
        ({"SERVICE_NAME": "a", "HANDLER": "nonsense"}, "it must read package.module:function"),
        ({"SERVICE_NAME": "a", "HANDLER": "m:f", "SINK": "stdout"}, "HANDLER=m:f contradicts SINK=stdout"),
        ({"SERVICE_NAME": "a", "AUTO_OFFSET_RESET": "newest"}, "'earliest' or 'latest'"),
        ({"SERVICE_NAME": "a", "SESSION_TIMEOUT_MS": "1800001"}, "less than or equal to 1800000"),
        ({"SERVICE_NAME": "a", "REBALANCE_TIMEOUT_MS": "15000"}, "must be below KAFKA_REQUEST_TIMEOUT_MS=15000"),
    ],
)
def test_settings_that_cannot_work_exit_with_2(settings: dict[str, str], message: str) -> None:
    result = run(**settings)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("no_such_module:handle", "importing no_such_module failed: ModuleNotFoundError"),
        ("json:handle", "json has no handle"),
        ("json:dumps", "dumps is not an async function"),
    ],
)
def test_a_handler_that_cannot_be_called_exits_with_1(handler: str, message: str) -> None:
    result = run(SERVICE_NAME="a", HANDLER=handler)
    assert result.returncode == 1
    assert message in result.stdout


def test_an_archive_that_cannot_be_written_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(SERVICE_NAME="a", SINK="archive", ARCHIVE_DIR=str(tmp_path / "file" / "archive"))
    assert result.returncode == 1
    assert "cannot be made: Not a directory" in result.stdout


def test_rules_that_cannot_work_exit_with_2(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[scan]\npaths = 0\n")
    result = run(SERVICE_NAME="a", SINK="alerts", ALERTS_DIR=str(tmp_path), ALERTS_FILE=str(rules))
    assert result.returncode == 2
    assert "[scan] paths = 0 is not allowed; it must be a whole number from 1 to 1000." in result.stdout


def test_a_check_reads_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    settings = {"SERVICE_NAME": "a", "SINK": "alerts", "ALERTS_DIR": str(tmp_path), "ALERTS_FILE": str(rules)}
    rules.write_text("[scan]\npaths = 0\n")
    refused = run("--check", **settings)
    assert refused.returncode == 2
    assert f"ALERTS_FILE={rules}: [scan] paths = 0 is not allowed; it must be" in refused.stderr
    rules.write_text("[scan]\npaths = 1\n")
    assert run("--check", **settings).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rules.toml"], "a check leaves nothing behind"


def test_a_secret_address_is_not_shown(tmp_path: Path) -> None:
    result = run(SERVICE_NAME="a", SINK="alerts", ALERTS_DIR=str(tmp_path), ALERTS_WEBHOOK_URL="hooks.example/s3cret")
    assert result.returncode == 2
    assert "ALERTS_WEBHOOK_URL holds no address" in result.stdout
    assert "s3cret" not in result.stdout + result.stderr


def test_help_teaches() -> None:
    result = run("--help")
    assert result.returncode == 0
    for taught in ("SERVICE_NAME=watcher python -m services.consumer", "async def handle(", "COMMIT_INTERVAL_MS"):
        assert taught in result.stdout
