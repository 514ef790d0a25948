"""Numbered access-log lines: what the generator writes and the auditor expects, a function of run and number alone."""

from __future__ import annotations

import re

_AGENTS = (b"Mozilla/5.0 (X11; Linux x86_64)", b"curl/8.5.0", b"ExampleBot/2.1 (+http://bot.example/about)")
_STATUSES = (200, 304, 404, 500, 206)
_MARK = re.compile(rb"/chaos/([0-9a-f]+)/(\d+)\b")

# client address, path, query, status, bytes, referrer, user agent: what a record says of a line.
Fields = tuple[str, str, str, int, int, str, str]


def numbered_line(run: str, number: int) -> bytes:
    """A combined line with its newline. The clients of neighbouring lines differ, so that all partitions are used."""
    return b'10.%d.%d.%d - - [17/May/2015:10:05:03 +0000] "GET /chaos/%b/%d?n=%d HTTP/1.1" %d %d "%b" "%b"\n' % (
        number % 7,
        number % 13,
        number % 251,
        run.encode(),
        number,
        number * 31 % 997,
        _STATUSES[number % 5],
        number * 37 % 65_536,
        b"http://shop.example/%d" % (number % 101),
        _AGENTS[number % 3],
    )


def fields_of(run: str, number: int) -> Fields:
    """What the record of `numbered_line` has to say."""
    return (
        f"10.{number % 7}.{number % 13}.{number % 251}",
        f"/chaos/{run}/{number}",
        f"n={number * 31 % 997}",
        _STATUSES[number % 5],
        number * 37 % 65_536,
        f"http://shop.example/{number % 101}",
        _AGENTS[number % 3].decode(),
    )


def mark(run: str, number: int) -> bytes:
    """What an unusual line carries somewhere, so that it can be told from others."""
    return b"/chaos/%b/%d" % (run.encode(), number)


def number_in(text: bytes, run: str) -> int | None:
    """The number that a line or value carries; None without one of this run."""
    match = _MARK.search(text)
    return int(match[2]) if match and match[1] == run.encode() else None
