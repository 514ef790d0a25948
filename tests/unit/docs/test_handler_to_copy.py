"""A handler is a function: call it with records. (docs/adding-a-consumer.md shows this file.)"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.consumer.examples import one_by_one
from services.consumer.examples.errors_only import handle
from services.consumer.handlers import Away, Reject
from shared.schemas import AccessRecord, Source


def record(status: int, path: str, remote_user: str | None = None) -> AccessRecord:
    return AccessRecord(
        schema_version=1,
        time=datetime(2026, 11, 22, 15, 1, 9, tzinfo=UTC),
        client_address="192.0.2.1",
        remote_user=remote_user,
        method="GET",
        path=path,
        query=None,
        protocol="HTTP/1.1",
        request=None,
        status=status,
        body_bytes=17,
        referrer=None,
        user_agent=None,
        forwarded_for=None,
        escaped_fields=(),
        source=Source(host="web-1", file="/var/log/nginx/access.log", generation="1-a", offset=0, length=80),
    )


async def test_errors_are_printed_and_nothing_else_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The example shows the requests that the server failed to answer."""
    await handle([record(200, "/fine"), record(503, "/busy")])
    assert capsys.readouterr().out == "2026-11-22 15:01:09+00:00 503 GET /busy\n"


async def test_what_a_client_sent_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    await handle([record(503, "/\x1b[2J\x9b31m\u202e\n")])
    assert capsys.readouterr().out == "2026-11-22 15:01:09+00:00 503 GET /\\x1b[2J\\x9b31m\\u202e\\n\n"


async def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is away is waited for, what is wrong is set aside, all else is done."""
    monkeypatch.setattr(one_by_one, "FOLDER", tmp_path / "by_user")
    with pytest.raises(Away, match="by_user is not there"):
        await one_by_one.handle(record(200, "/", "ann"))
    (tmp_path / "by_user").mkdir()
    await one_by_one.handle(record(200, "/", "ann"))
    assert (tmp_path / "by_user" / "ann").read_text() == "2026-11-22 15:01:09+00:00 200 GET '/'\n"
    with pytest.raises(Reject):
        await one_by_one.handle(record(200, "/", "../../etc"))
