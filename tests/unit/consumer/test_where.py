"""WHERE: what it can say, what it refuses, and that it can do nothing else."""

from __future__ import annotations

import time

import pytest

from services.consumer.settings import ConsumerSettings
from services.consumer.where import MAX_CHARACTERS, NO_ANSWER, Where
from shared.errors import InvalidSettings
from shared.runtime.settings import load_settings
from shared.schemas import AccessRecord, Details, Upstream
from tests.unit.consumer.records import value

DETAILS = Details(
    host="shop.example",
    request_time_s=0.25,
    upstream=Upstream(addresses=("10.0.0.1:80", None), statuses=(502, 200)),
    request_headers={"dnt": "1"},
)
RECORD = AccessRecord.model_validate_json(value(7)).model_copy(
    update={"status": 503, "path": "/api/Items", "details": DETAILS}
)


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("status >= 500 and path.startswith('/api')", True),
        ("status < 500 or not path.endswith('Items')", False),
        ("400 <= status < 600", True),
        ("status in (500, 503)", True),
        ("method not in ['GET', 'HEAD']", False),
        ("'Items' in path", True),
        ("lower(path) == '/api/items' and path.lower() == lower(path)", True),
        ("len(path) == 10", True),
        ("int('5') == status // 100", True),
        ("query is None and path is not None", True),
        ("query == 'a' or user_agent == 'über'", True),
        ("(body_bytes + 1) * 2 - 4 == -0.0 and status % 2 == 1", True),
        ("details.host == 'shop.example' and details.request_time_s > 0.2", True),
        ("details.upstream.addresses[0].startswith('10.')", True),
        ("502 in details.upstream.statuses and details.upstream.statuses[0] == 502", True),
        ("details.request_headers['dnt'] == '1' and 'dnt' in details.request_headers", True),
        ("time.hour == 10 and time.year == 2015", True),
        ("source.offset == 7 and source.host == 'web-1'", True),
        ("  status\n  == 503 ", True),
    ],
)
def test_what_an_expression_says(expression: str, matches: bool) -> None:
    assert Where(expression).matches(RECORD) is matches


@pytest.mark.parametrize(
    ("expression", "because", "column"),
    [
        ("status >= 500 and pth == ''", "there is no field pth", 19),
        ("status = 500", "invalid syntax", 8),
        ("status >=", "invalid syntax", 10),
        ("status > '500'", "number and text cannot be compared by Gt", 10),
        ("path > 3", "text and number cannot be compared by Gt", 8),
        ("path.contains('x')", "write 'part' in path", 5),
        ("path.startswith(3)", "this is number, where text is needed", 17),
        ("path.startswith('a', 3)", "startswith takes 1 argument", 5),
        ("details.hst == ''", "there is no field hst of details", 8),
        ("user_agent == 'über' and pth", "there is no field pth", 26),
        ("open('/etc/passwd')", "there is no such function", 1),
        ("len(status)", "this is number, where text or list is needed", 5),
    ],
)
def test_a_mistake_is_pointed_at(monkeypatch: pytest.MonkeyPatch, expression: str, because: str, column: int) -> None:
    monkeypatch.setenv("SERVICE_NAME", "test")
    monkeypatch.setenv("WHERE", expression)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(ConsumerSettings)
    said = str(caught.value)
    assert said.startswith(f"WHERE={expression!r} is not allowed: ")
    assert because in said
    assert "Fields: schema_version, time, client_address" in said
    lines = said.splitlines()
    caret = next(index for index, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret - 1] == f"    {expression}"
    assert lines[caret].index("^") - 4 == column - 1


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "9**9**9**9",
        "2 << 10**9",
        "'a' * 10**9",
        "'a' * 1000000000 == path",
        "path * 1000000000 == path",
        "path + path == path",
        "'%1000000000d' % status",
        "'{:1000000000}'.format(status)",
        "f'{status:1000000000}'",
        "path.__class__",
        "().__class__.__bases__[0].__subclasses__()",
        "path.startswith.__self__",
        "status.__class__",
        "details.__dict__",
        "details.model_dump()",
        "details.request_headers.items()",
        "time.__reduce__()",
        "__import__('os').system('true')",
        "eval('1')",
        "[x for x in path]",
        "(x := 5)",
        "lambda: 1",
        "status if path else 1",
        "{**details}",
        "path[0:1000]",
        "len(*path)",
        "int(x=path)",
        "int(path, 36)",
        "status; path",
        "import os",
        "~status",
        "status & 1",
        "b'x' == path",
        "1j == status",
        "... == status",
        "await path",
        "(((" * 100,
        "-" * (MAX_CHARACTERS - 1) + "1",
        "not " * 200 + "status",
        "1" * (MAX_CHARACTERS + 1),
        "path\0",
    ],
)
def test_what_could_reach_out_or_grow_is_refused_when_it_is_read(expression: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="Fields: "):
        Where(expression)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "expression",
    [
        "query.startswith('a')",
        "details.tls['protocol'] == 'TLSv1.3'",
        "details.server.name == 'x'",
        "details.upstream.statuses[9] == 200",
        "int(path) == 1",
        "status / (status - 503) > 1",
        "details.request_headers['absent'] == '1'",
        "len(query) > 3",
    ],
)
def test_a_record_that_lacks_what_is_asked_for_raises_what_the_caller_expects(expression: str) -> None:
    with pytest.raises(NO_ANSWER):
        Where(expression).matches(RECORD)
