"""The folder with the secrets of SECURE=1, and what make does about it."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import Certificate, load_pem_x509_certificate, load_pem_x509_certificates

from compose.control.docker_stack import DockerStack
from compose.control.flavours import FLAVOURS
from compose.control.kafka_view import KafkaView
from compose.control.secured import (
    Secrets,
    check_flavour,
    check_unchanged,
    is_wanted,
    login,
    remark_on,
    shown_in,
)
from compose.control.state import StackState
from compose.control.topology import Service
from compose.errors import OperatorError
from compose.security.authority import CERTIFICATE_DAYS
from compose.security.folder import SecretFolder
from shared.errors import InvalidSettings
from tests.unit.docs.generated import ROOT


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


def trusted(folder: SecretFolder, keystore: str) -> bool:
    """Whether every client would trust a broker that shows this."""
    shown = load_pem_x509_certificate(keystore[keystore.index("-----BEGIN CERTIFICATE") :].encode())
    files = [folder.truststore, *folder.path.glob("clients/*/ca.pem")]
    return all(any(signed_by(shown, each) for each in load_pem_x509_certificates(f.read_bytes())) for f in files)


def signed_by(certificate: Certificate, authority: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("writes", range(6))
def test_a_change_of_the_authority_may_end_anywhere_and_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """What the broker shows is trusted after the interruption, and after the next time, until it shows the new one."""
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    left, write = iter(range(writes)), SecretFolder._write

    def failing(self: SecretFolder, path: Path, text: str, *, private: bool = False) -> None:
        if next(left, None) is None:
            raise OSError("no space left")
        write(self, path, text, private=private)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(SecretFolder, "_write", failing)
        with pytest.raises(OSError, match="no space"):
            folder.renew(authority=True)
    shown = folder.keystore.read_text()
    assert trusted(folder, shown)
    folder.renew(authority=True)
    assert trusted(folder, shown)
    assert folder.has_signed(shown_in(folder))


def test_without_the_key_of_the_authority_nothing_is_signed_anew(tmp_path: Path) -> None:
    """It may be kept elsewhere. A new authority in its place would be trusted, and the broker's certificate not."""
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    folder.authority_file.unlink()
    before = contents(folder)
    for attempt in (lambda: folder.prepare(["producer"]), folder.renew, lambda: folder.renew(authority=True)):
        with pytest.raises(OperatorError, match=r"authority\.pem is missing") as refused:
            attempt()
        assert "Put the file back" in refused.value.next_step
    assert contents(folder) == before


def test_a_certificate_that_nobody_trusts_is_made_anew(tmp_path: Path) -> None:
    folder, other = SecretFolder(tmp_path / "secure"), SecretFolder(tmp_path / "other")
    for each in (folder, other):
        each.prepare(["producer"])
    foreign = other.keystore.read_text()
    folder.keystore.chmod(0o600)
    folder.keystore.write_text(foreign)
    folder.prepare(["producer"])
    assert trusted(folder, folder.keystore.read_text())


def test_of_a_certificate_that_ends_soon_or_is_not_shown_status_tells(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path / "secure")
    folder.prepare(["producer"])
    shown, now = shown_in(folder), datetime.now(UTC)
    folder.renew()
    assert remark_on(shown, shown, now) is None
    assert "ends in 28 days" in str(remark_on(shown, shown, now + timedelta(days=CERTIFICATE_DAYS - 29, hours=1)))
    assert "does not show" in str(remark_on(shown, shown_in(folder), now))


def with_users(path: Path) -> Secrets:
    made = Secrets(SecretFolder(path), "", ())
    made.folder.prepare(["producer"])
    return made


def test_the_way_between_secured_and_open_is_closed(tmp_path: Path) -> None:
    """In both directions: the data of the broker know users, or none. Without data everything may begin."""
    secrets = with_users(tmp_path / "secure")
    for was, same, other in ((True, secrets, None), (False, None, secrets)):
        state = StackState(mode="local", kafka="kraft", secured=was)
        with pytest.raises(OperatorError, match="Nothing was changed"):
            check_unchanged({"kraft"}, state, other)
        check_unchanged({"kraft"}, state, same)
        check_unchanged((), state, other)


def test_passwords_that_are_gone_are_not_replaced_by_new_ones(tmp_path: Path) -> None:
    """The broker's data know the old ones. After `git clean` the state is lost too: nothing is said that it told."""
    gone, secrets = Secrets(SecretFolder(tmp_path / "gone"), "", ()), with_users(tmp_path / "secure")
    known, forgotten = StackState(mode="local", kafka="kraft", secured=True), StackState(mode="local")
    with pytest.raises(OperatorError, match=r"passwords that were in .*gone, and those are gone"):
        check_unchanged({"kraft"}, known, gone)
    with pytest.raises(OperatorError, match="is not known any more, and its passwords are not in"):
        check_unchanged({"kraft"}, forgotten, gone)
    check_unchanged({"kraft"}, forgotten, secrets)
    check_unchanged({"kraft"}, forgotten, None)


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


def test_contradicting_logins_are_told_as_a_service_tells_them() -> None:
    """As from `make status KAFKA_SASL_USERNAME=me` on an open stack."""
    with pytest.raises(InvalidSettings, match="KAFKA_SASL_USERNAME='me' contradicts KAFKA_SECURITY_PROTOCOL=PLAINTEXT"):
        KafkaView("127.0.0.1:1", "nginx_logs", {"kafka_sasl_username": "me"})


def test_the_verbs_read_the_files_that_the_containers_get() -> None:
    """Whatever SECURE_DIR is in .env."""
    variables = {"SECURE": "1", "SECURE_DIR": "/elsewhere", "KAFKA_SSL_CHECK_HOSTNAME": "false"}
    login = DockerStack(ROOT, variables, StackState(mode="docker")).login()
    assert login["kafka_ssl_ca_file"] == str(ROOT / ".run" / "secure" / "clients" / "admin" / "ca.pem")
    assert login["kafka_ssl_check_hostname"] == "true"
