"""What local mode makes of the service that writes to PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.control.local_plan import LocalPlan
from compose.control.local_stack import LocalStack
from compose.control.state import StackState
from compose.control.topology import read_services
from compose.errors import OperatorError

ROOT = Path(__file__).resolve().parents[3]


def test_the_password_is_read_from_the_file_that_was_named() -> None:
    """A container has a secret instead, at a path that this machine does not have."""
    for variables, expected in (({"POSTGRES_PASSWORD_FILE": "/srv/password"}, "/srv/password"), ({}, "")):
        services = read_services((ROOT / "compose" / "services.yaml").read_text(), variables)
        plan = LocalPlan(ROOT, Path("/r"), services, variables, {"postgres-writer": 1}, {}, "127.0.0.1:1")
        found = plan.environment(services["postgres-writer"], 8080)
        assert found["POSTGRES_PASSWORD_FILE"] == expected


def test_local_mode_says_that_it_has_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "services.yaml").write_text((ROOT / "compose" / "services.yaml").read_text())
    stack = LocalStack(tmp_path, {}, StackState(mode="local"))
    monkeypatch.setattr(stack, "_require_running", lambda: None)
    with pytest.raises(OperatorError, match="no PostgreSQL of its own") as refused:
        stack.scale({"postgres-writer": 1}, lambda _text: None)
    assert "POSTGRES_URL=" in refused.value.next_step
    assert stack._state.scale == {}
