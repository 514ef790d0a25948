"""Lines as nginx writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

import pytest

from services.demo.lines import Form, escape, render_line
from services.demo.traffic import OddKind, OddVisit, Visit, make_traffic

NOW = datetime(2026, 3, 5, 7, 8, 9, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
VISIT = Visit(
    client_address="2001:db8::1",
    method="GET",
    target="/\u00fcber?a=b".encode(),
    status=200,
    body_bytes=19,
    referrer=None,
    user_agent='say "hi" \\o/',
    forwarded_for="192.0.2.1",
)
# nginx's stock format, written down independently of the code that renders it.
COMBINED = re.compile(
    rb'\S+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "[^"]*" \d{3} \d+ "[^"]+" "[^"]+"'
)
MAIN = re.compile(COMBINED.pattern + rb' "[^"]+"')


def test_combined_line_reads_as_nginx_writes_it() -> None:
    assert render_line(VISIT, NOW, Form.COMBINED) == (
        b'2001:db8::1 - - [05/Mar/2026:07:08:09 -0330] "GET /\\xC3\\xBCber?a=b HTTP/1.1" 200 19 "-" '
        b'"say \\x22hi\\x22 \\x5Co/"\n'
    )


def test_main_line_ends_with_the_forwarded_addresses() -> None:
    assert render_line(VISIT, NOW, Form.MAIN).endswith(b' "192.0.2.1"\n')
    assert render_line(replace(VISIT, forwarded_for=None), NOW, Form.MAIN).endswith(b' "-"\n')


@pytest.mark.parametrize(("form", "pattern"), [(Form.COMBINED, COMBINED), (Form.MAIN, MAIN)])
def test_every_line_has_the_format(form: Form, pattern: re.Pattern[bytes]) -> None:
    now = datetime.now(UTC)
    for visit in islice(make_traffic(seed=3), 2_000):
        assert pattern.fullmatch(render_line(visit, now, form).removesuffix(b"\n"))


def test_an_empty_request_is_an_empty_field() -> None:
    odd = OddVisit("192.0.2.1", OddKind.NOTHING, b"", b"", 400)
    assert b'] "" 400 ' in render_line(odd, NOW, Form.COMBINED)


def test_escape_leaves_printable_ascii_alone() -> None:
    assert escape(bytes(range(0x20, 0x7F)).replace(b'"', b"").replace(b"\\", b"")).isprintable()
    assert escape(b'\x00\x1f"\\\x7f\xff') == r"\x00\x1F\x22\x5C\x7F\xFF"
