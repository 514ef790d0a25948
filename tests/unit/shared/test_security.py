"""How clients log in: which settings go together, and what is said of files that cannot be used."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from compose.security.authority import issue, make_authority
from shared.errors import InvalidSettings
from shared.kafka.security import read_context, security_options
from shared.runtime.settings import KafkaSettings, load_settings

NOW = datetime.now(UTC)
LOGIN = {
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "me",
    "KAFKA_SASL_PASSWORD_FILE": "/run/password",
}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> KafkaSettings:
    for name, value in {"SERVICE_NAME": "x", **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings(KafkaSettings)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"KAFKA_SECURITY_PROTOCOL": "SSL"},
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTIFICATE_FILE": "/a", "KAFKA_SSL_KEY_FILE": "/b"},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **LOGIN, "KAFKA_SSL_CA_FILE": "/ca"},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", **LOGIN},
        {"KAFKA_SSL_CHECK_HOSTNAME": "true"},
    ],
    ids=lambda variables: ",".join(variables) or "nothing",
)
def test_what_belongs_together_is_taken(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, **variables).kafka_ssl_check_hostname


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"KAFKA_SECURITY_PROTOCOL": "TLS"},
            "KAFKA_SECURITY_PROTOCOL='TLS' is not allowed: Input should be 'PLAINTEXT'",
        ),
        (
            {"KAFKA_SASL_USERNAME": "me"},
            "KAFKA_SASL_USERNAME='me' contradicts KAFKA_SECURITY_PROTOCOL=PLAINTEXT: it is ",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", **LOGIN, "KAFKA_SSL_CHECK_HOSTNAME": "false"},
            "KAFKA_SSL_CHECK_HOSTNAME=false contradicts KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT: it is for SSL and",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "me"},
            "KAFKA_SASL_MECHANISM is not set, and KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it: one of PLAIN, SC",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_PASSWORD_FILE is not set"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_FILE": "/key"},
            "KAFKA_SSL_CERTIFICATE_FILE is not set, and KAFKA_SSL_KEY_FILE='/key' is of no use without it",
        ),
        ({**LOGIN, "KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM='GSSAPI' is not allowed"),
    ],
)
def test_what_does_not_is_refused_by_name(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(monkeypatch, **variables)
    assert told in str(refused.value)


def written(folder: Path, encrypted_with: bytes | None = None) -> dict[str, Path]:
    """A client's files."""
    authority = make_authority("test", NOW)
    mine = issue(authority, "me", ("localhost",), NOW)
    files = {"ca": authority.certificate, "certificate": mine.certificate, "key": mine.key, "password": "secret\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    if encrypted_with is not None:
        key = serialization.load_pem_private_key(mine.key.encode(), None)
        encryption = serialization.BestAvailableEncryption(encrypted_with)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        (folder / "key").write_bytes(key.private_bytes(*form))
    return {name: folder / name for name in files}


def ssl_settings(files: dict[str, Path], key_password_file: Path | None = None) -> KafkaSettings:
    return KafkaSettings(
        service_name="x",
        kafka_security_protocol="SSL",
        kafka_ssl_ca_file=files["ca"],
        kafka_ssl_certificate_file=files["certificate"],
        kafka_ssl_key_file=files["key"],
        kafka_ssl_key_password_file=key_password_file,
    )


def test_certificates_with_a_key_of_their_own_are_used(tmp_path: Path) -> None:
    context = read_context(ssl_settings(written(tmp_path)))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_comment_between_certificates_may_be_in_any_language(tmp_path: Path) -> None:
    files = written(tmp_path)
    files["ca"].write_text("# Prüfstelle Nº 1\n" + files["ca"].read_text(), encoding="utf-8")
    assert len(read_context(ssl_settings(files)).get_ca_certs()) == 1


def test_a_locked_key_needs_its_password(tmp_path: Path) -> None:
    """And without one nobody is asked on the terminal."""
    files = written(tmp_path, encrypted_with=b"secret")
    assert read_context(ssl_settings(files, files["password"]))
    with pytest.raises(InvalidSettings, match=r"KAFKA_SSL_CERTIFICATE_FILE=.*certificate with KAFKA_SSL_KEY_FILE="):
        read_context(ssl_settings(files))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("ca", "no certificate", "KAFKA_SSL_CA_FILE=.*it holds no certificates in PEM"),
        ("ca", "", "KAFKA_SSL_CA_FILE=.*it is empty"),
        ("ca", None, "KAFKA_SSL_CA_FILE=.*cannot be read: No such file"),
        ("certificate", None, "KAFKA_SSL_CERTIFICATE_FILE=.*cannot be read: No such file"),
        ("key", "no key", "KAFKA_SSL_KEY_FILE=.*cannot be used"),
    ],
)
def test_a_file_that_is_none_is_named_and_not_shown(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    files = written(tmp_path)
    files[name].unlink() if text is None else files[name].write_text(text)
    with pytest.raises(InvalidSettings, match=told):
        security_options(ssl_settings(files))


def test_a_new_connection_reads_the_files_anew(tmp_path: Path) -> None:
    """The client has one context for its whole life. A file that is away for a moment is a connection that failed."""
    files = written(tmp_path)
    context = security_options(ssl_settings(files))["ssl_context"]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    authority = files["ca"].read_text()
    files["ca"].unlink()
    with pytest.raises(OSError, match="KAFKA_SSL_CA_FILE"):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    files["ca"].write_text(authority)
    assert context.wrap_bio(incoming, outgoing, server_hostname="localhost")


def test_the_password_is_the_file_without_the_end_of_its_line(tmp_path: Path) -> None:
    settings = KafkaSettings(
        service_name="x",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="me",
        kafka_sasl_password_file=written(tmp_path)["password"],
    )
    assert security_options(settings) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
    }
