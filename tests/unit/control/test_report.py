"""What the verbs print of records."""

from __future__ import annotations

import json

from compose.control.report import record_summary


def test_a_record_is_shown_in_one_line_that_steers_no_terminal() -> None:
    """JSON hides the escape sequences that a client sent; decoded they must not come out."""
    record = {
        "time": "2026-01-02T03:04:05Z",
        "client_address": "192.0.2.1",
        "method": "GET",
        "path": "/a\x1b[2J\u202e\x9b",
        "status": 200,
    }
    shown = record_summary(json.dumps({"event": "record", "partition": 3, "offset": 9, "record": record}))
    assert shown is not None
    assert shown.isprintable()
    assert shown.startswith("2026-01-02T03:04:05Z  192.0.2.1  GET /a\ufffd[2J")
    assert record_summary("no record") is None
