"""What SINK=kafka makes of a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.consumer.transforms import TRANSFORMS, load_transform
from services.consumer.transforms.anonymise import anonymous_address
from shared.errors import HandlerNotFound
from shared.schemas import AccessRecord
from tests.unit.consumer.records import value

RECORD = AccessRecord.model_validate_json(value(1))


def changed(**fields: object) -> AccessRecord:
    return RECORD.model_copy(update=fields)


def test_a_copy_is_the_same_bytes() -> None:
    assert TRANSFORMS["copy"].value_of(RECORD, b" as it came ") == b" as it came "
    assert TRANSFORMS["copy"].key_of(b"key") == b"key"


@pytest.mark.parametrize(("status", "kept"), [(200, False), (499, False), (500, True), (599, True)])
def test_errors_are_those_of_the_server(status: int, kept: bool) -> None:
    assert (TRANSFORMS["errors"].value_of(changed(status=status), b"value") == b"value") is kept


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0"),
        (" 192.0.2.77:8080", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.77", "::ffff:192.0.2.0"),
        ("somebody", "unknown"),
        ("", "unknown"),
        ("999.0.0.1", "unknown"),
    ],
)
def test_an_address_becomes_its_network(address: str, network: str) -> None:
    assert anonymous_address(address) == network


def test_an_anonymous_record_names_no_client_anywhere() -> None:
    record = changed(
        client_address="192.0.2.77",
        forwarded_for="192.0.2.77, 2001:db8:1:2::9, alice",
        remote_user="alice",
        query="user=alice",
        request="GET alice",
    )
    transform = TRANSFORMS["anonymise"]
    made = transform.value_of(record, b"")
    assert made is not None
    assert not {one for one in (b"192.0.2.77", b"alice", b"2::9") if one in made}
    found = json.loads(made)
    assert found["client_address"] == "192.0.2.0"
    assert found["forwarded_for"] == "192.0.2.0, 2001:db8:1::, unknown"
    assert AccessRecord.model_validate_json(made).source == record.source


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        (b"192.0.2.77", b"192.0.2.0"),
        (b"2001:db8:1:2::9", b"2001:db8:1::"),
        (b"/var/log/access.log", b"/var/log/access.log"),
        (b"\xff", b"\xff"),
        (None, None),
    ],
)
def test_a_key_that_is_an_address_is_cut_too(key: bytes | None, kept: bytes | None) -> None:
    assert TRANSFORMS["anonymise"].key_of(key) == kept


def test_a_client_on_a_socket_of_the_host_is_nobody() -> None:
    made = TRANSFORMS["anonymise"].value_of(changed(client_address="unix:"), b"")
    assert made is not None
    assert json.loads(made)["client_address"] == "unix:"


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shorten.py").write_text(
        "def path(record):\n    return record.path.encode() if record.status == 200 else None\n"
        "def wrong(record):\n    return record.path\n"
        "async def late(record):\n    return b''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    transform = load_transform("shorten:path")
    assert transform.value_of(RECORD, b"") == b"/1"
    assert transform.value_of(changed(status=404), b"") is None
    with pytest.raises(TypeError, match="returned str, neither bytes nor None"):
        load_transform("shorten:wrong").value_of(RECORD, b"")
    with pytest.raises(HandlerNotFound, match="TRANSFORM=shorten:late is not a plain function"):
        load_transform("shorten:late")
    with pytest.raises(HandlerNotFound, match="TRANSFORM=shorten:absent: shorten has no absent"):
        load_transform("shorten:absent")
