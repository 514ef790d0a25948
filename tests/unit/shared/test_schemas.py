"""The schemas: what is published is what was meant, and safe to look at."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.schemas import AccessRecord, DeadLetter, DeadLetterReason, Source
from shared.schemas.terminal import escape_terminal_controls

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "access-record.schema.json"


def record(**changes: object) -> AccessRecord:
    fields: dict[str, object] = {
        "schema_version": 1,
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "client_address": "192.0.2.1",
        "remote_user": None,
        "method": "GET",
        "path": "/",
        "query": None,
        "protocol": "HTTP/1.1",
        "request": None,
        "status": 200,
        "body_bytes": 12,
        "referrer": None,
        "user_agent": "curl/8",
        "forwarded_for": None,
        "escaped_fields": (),
        "source": Source(host="h", file="/f", generation="g", offset=0, length=9),
        **changes,
    }
    return AccessRecord(**fields)  # type: ignore[arg-type]


def test_published_json_schema_is_the_models() -> None:
    """docs/ holds the schema that readers in other languages use; docs/record.md tells how to make it anew."""
    assert json.loads(SCHEMA_FILE.read_text()) == AccessRecord.model_json_schema()


@given(st.text())
def test_value_survives_the_way_through_the_topic(path: str) -> None:
    """Any text, among it what terminals obey."""
    original = record(path=path.encode(errors="replace").decode(errors="replace"))
    value = original.to_json()
    assert AccessRecord.model_validate_json(value) == original
    assert b"\n" not in value


@given(st.text())
def test_nothing_in_a_value_steers_a_terminal(text: str) -> None:
    """C0 and C1 controls, DEL and the marks that reorder text appear as escapes only."""
    shown = escape_terminal_controls(json.dumps(text, ensure_ascii=False).encode(errors="replace")).decode()
    assert not [character for character in shown if ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F]
    assert not set("\u202e\u2066\u2028\u200f\ufeff") & set(shown)


def test_a_reader_ignores_fields_that_came_later() -> None:
    """Changes within a version are additive."""
    value = json.loads(record().to_json()) | {"request_time_s": 0.25}
    assert AccessRecord.model_validate_json(json.dumps(value)) == record()


@pytest.mark.parametrize(
    "change", [{"status": "200"}, {"status": 1000}, {"schema_version": 2}, {"time": "2026-01-02T03:04:05"}]
)
def test_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    """Strict: no coercion, no unknown version, no time without an offset."""
    with pytest.raises(ValidationError):
        AccessRecord.model_validate_json(json.dumps(json.loads(record().to_json()) | change))


def test_a_record_cannot_be_changed() -> None:
    """Frozen: what was validated stays valid."""
    with pytest.raises(ValidationError):
        record().status = 500  # type: ignore[misc]


@given(st.binary(), st.text(max_size=20).filter(lambda text: text.isprintable()), st.integers(0, 2**60))
def test_dead_letter_comes_back_from_its_record(raw: bytes, message: str, offset: int) -> None:
    """Value and headers hold all of it."""
    letter = DeadLetter(
        raw=raw,
        raw_length=len(raw),
        reason=DeadLetterReason.UNPARSEABLE_LINE,
        message=message,
        service="producer",
        source_file="/var/log/nginx/access.log",
        source_offset=offset,
    )
    assert DeadLetter.from_record(raw, None, letter.headers()) == letter
