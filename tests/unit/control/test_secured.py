"""The folder with the secrets of SECURE=1, and what make does about it."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compose.control.flavours import FLAVOURS
from compose.control.secured import check_flavour, check_unchanged, is_wanted, login
from compose.control.topology import Service
from compose.errors import OperatorError
from compose.security.authority import CERTIFICATE_DAYS
from compose.security.folder import SecretFolder


def contents(folder: SecretFolder) -> dict[str, str]:
    return {str(file.relative_to(folder.path)): file.read_text() for file in folder.path.rglob("*") if file.is_file()}


def modes(folder: SecretFolder) -> dict[str, str]:
    paths = [folder.path, *folder.path.rglob("*")]
    return {str(path.relative_to(folder.path)): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}


def test_a_second_time_keeps_everything(tmp_path: Path) -> None:
    """The broker's storage knows the passwords of the first time."""
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    before = contents(folder)
    folder.prepare(["producer"])
    assert contents(folder) == before
    assert len({text for name, text in before.items() if name.endswith("/password")}) == 2


def test_nobody_reads_them_but_their_owner_and_for_containers_one_group(tmp_path: Path) -> None:
    alone, shared = SecretFolder(tmp_path / "alone"), SecretFolder(tmp_path / "shared", os.getgid())
    for folder in (alone, shared):
        folder.prepare(["producer"])
    assert set(modes(alone).values()) == {"0o700", "0o600"}
    found = modes(shared)
    assert {found[name] for name in (".", "authority", "clients")} == {"0o700"}
    assert found["authority/authority.pem"] == "0o600"
    assert found["clients/producer/password"] == found["broker/keystore.pem"] == "0o440"
    assert found["clients/producer"] == found["broker"] == "0o750"


def test_a_principal_that_the_storage_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    before = contents(folder)
    with pytest.raises(OperatorError, match="set up without newcomer"):
        folder.prepare(["producer", "newcomer"])
    assert contents(folder) == before


def test_a_certificate_that_ends_soon_is_made_anew(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path / "secure")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    folder.prepare(["producer"], start)
    first = folder.keystore.read_text()
    folder.prepare(["producer"], start + timedelta(days=CERTIFICATE_DAYS - 31))
    assert folder.keystore.read_text() == first
    folder.prepare(["producer"], start + timedelta(days=CERTIFICATE_DAYS - 29))
    assert folder.keystore.read_text() != first


def test_a_new_authority_is_trusted_beside_the_one_before(tmp_path: Path) -> None:
    """Clients that read it must trust both until the broker shows the new certificate; the one before that is out."""
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    trusted = folder.client("producer") / "ca.pem"
    seen = [trusted.read_text()]
    for _time in range(2):
        folder.renew(authority=True)
        newest = trusted.read_text().replace(seen[-1], "")
        assert trusted.read_text() == folder.truststore.read_text() == newest + seen[-1]
        seen.append(newest)
    assert seen[0] not in trusted.read_text()


def test_the_way_between_secured_and_open_is_closed() -> None:
    """In both directions: the data of the broker know users, or none. Without data everything may begin."""
    for was in (True, False):
        with pytest.raises(OperatorError, match="Nothing was changed"):
            check_unchanged({"kraft"}, was=was, wanted=not was)
        check_unchanged({"kraft"}, was=was, wanted=was)
        check_unchanged((), was=was, wanted=not was)


def test_a_value_that_says_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(OperatorError, match="SECURE=yes is not known"):
        is_wanted({"SECURE": "yes"})


@pytest.mark.parametrize("name", [name for name in FLAVOURS if name != "kraft"])
def test_a_kafka_that_is_not_the_default_is_not_secured_in_passing(name: str) -> None:
    check_flavour({"SECURE": "1"}, FLAVOURS["kraft"])
    check_flavour({"SECURE": ""}, FLAVOURS[name])
    with pytest.raises(OperatorError, match=f"KAFKA={name} is another Kafka"):
        check_flavour({"SECURE": "1"}, FLAVOURS[name])


def test_the_verbs_log_in_with_the_files_of_this_machine(tmp_path: Path) -> None:
    environment = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_PASSWORD_FILE": "/run/kafka-client/password",
        "KAFKA_SSL_KEY_FILE": "",
        "KAFKA_TOPIC": "nginx_logs",
    }
    service = Service("topics", (), environment, 1, frozenset(), {"/run/kafka-client": "./mine"})
    assert login(service, tmp_path) == {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_password_file": str(tmp_path / "mine" / "password"),
    }
