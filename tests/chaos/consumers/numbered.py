"""Records with a number in them, written by hand: nothing of the services makes or reads them."""

from __future__ import annotations

import json

_RECORD = {
    "schema_version": 1,
    "time": "2015-05-17T10:05:03Z",
    "client_address": "192.0.2.1",
    "remote_user": None,
    "method": "GET",
    "path": "",
    "query": None,
    "protocol": "HTTP/1.1",
    "request": None,
    "status": 200,
    "body_bytes": 1,
    "referrer": None,
    "user_agent": "ü\u0007",
    "forwarded_for": None,
    "escaped_fields": [],
}
_HOUR_EVERY = 1_000


def path_of(run: str, number: int) -> str:
    return f"/{run}/{number}"


def value_of(run: str, number: int) -> bytes:
    """A valid record. The hour changes now and then, so that a sink that sorts by time has to."""
    hour = number // _HOUR_EVERY % 24
    source = {"host": "web-1", "file": "/access.log", "generation": run, "offset": number, "length": 80}
    return json.dumps(
        {**_RECORD, "time": f"2015-05-17T{hour:02d}:05:03Z", "path": path_of(run, number), "source": source}
    ).encode()


def number_in_path(run: str, path: str) -> int | None:
    """The number; None for a path of another run."""
    head, _, number = path.rpartition("/")
    return int(number) if head == f"/{run}" and number.isdigit() else None
