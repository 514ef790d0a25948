"""make status: why a process ended; make up: that no consumer runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from compose.control.flavours import FLAVOURS
from compose.control.last_words import MAX_CHARACTERS, last_error
from compose.control.stack import Replica, Stack
from compose.control.topology import Service
from compose.control.verbs import STACK_VERBS, Options


def line(level: str, event: str, **more: str) -> str:
    return json.dumps({"level": level, "event": event, **more})


def test_the_last_error_of_the_log_is_the_reason() -> None:
    """Not what was said after it, and not a warning."""
    lines = [line("error", "first"), line("error", "service_failed", error="no room"), line("info", "bye"), "trash"]
    assert last_error(lines) == "service_failed: no room"
    assert last_error([line("warning", "slow"), "[]", "17"]) is None
    assert last_error([]) is None


def test_a_wrong_setting_is_a_reason_too() -> None:
    """The service has no log yet and says it in plain text."""
    assert last_error(["This service cannot start.", "SINK='x' is not allowed: …", "See --help"]) is not None
    assert last_error(["This service cannot start."]) is None


def test_a_reason_is_short_and_steers_no_terminal() -> None:
    told = last_error([line("error", "failed", error="\x1b[2J" + "x" * 1000)])
    assert told is not None
    assert told.isprintable()
    assert len(told) == MAX_CHARACTERS + 1


class CrashingStack:
    """A producer that ends again and again, no consumer, and no broker."""

    mode = "local"
    flavour = FLAVOURS["kraft"]
    bootstrap_servers = "127.0.0.1:1"
    secrets = None

    def login(self) -> Mapping[str, str]:
        return {}

    def replicas(self) -> Sequence[Replica]:
        return [Replica("producer-1", "producer", "backoff", "exited too quickly", 1, None)]

    def services(self) -> Mapping[str, Service]:
        environment = {"KAFKA_TOPIC": "t", "KAFKA_DEAD_LETTER_TOPIC": "d", "SERVICE_NAME": "producer"}
        return {"producer": Service("producer", ("services.producer",), environment, 1, frozenset(), {})}

    def last_lines(self, replica: Replica, _count: int) -> Sequence[str]:
        assert replica.name == "producer-1"
        return [line("error", "service_failed", error="no room")]

    def up(self, _tell: object) -> bool:
        return True

    def variables(self) -> dict[str, str]:
        return {}

    def open_output(self, _service: str) -> Any:
        return None  # nobody prints, so nobody may wait for it


def test_status_says_why_a_replica_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert STACK_VERBS["status"](cast("Stack", CrashingStack()), Options(), ()) == 1
    assert "producer-1 said last: service_failed: no room" in capsys.readouterr().out


def test_up_without_consumers_waits_for_no_record(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were scaled to 0: that is no fault of the files."""
    monkeypatch.setattr("compose.control.verbs.check_settings", lambda _services: None)
    assert STACK_VERBS["up"](cast("Stack", CrashingStack()), Options(), ()) == 0
    told = capsys.readouterr().out
    assert "No replica of consumer runs" in told
    assert "no new line" not in told
