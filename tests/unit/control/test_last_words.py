"""make status: why a process ended; make up: that no consumer runs."""

from __future__ import annotations

import json

from compose.control.last_words import MAX_CHARACTERS, last_error


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
