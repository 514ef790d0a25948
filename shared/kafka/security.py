"""What a client shows to the brokers and what it asks of them.

aiokafka is given one TLS context for the whole life of a client, and connects anew whenever it has to. The context here
reads its files for each connection: certificates can be changed under a client that lives on. The password is read
when a client is made; the broker asks for it at the beginning of a connection only.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from shared.errors import InvalidSettings
from shared.runtime.settings import SecuritySettings


def security_options(settings: SecuritySettings) -> dict[str, Any]:
    """The arguments of a client of aiokafka. Raises InvalidSettings when a file cannot be used."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        read_context(settings)  # what is wrong with the files is said now and not as a broker that is away
        options["ssl_context"] = _FreshContext(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = _secret("KAFKA_SASL_PASSWORD_FILE", settings.kafka_sasl_password_file)
    return options


def read_context(settings: SecuritySettings) -> ssl.SSLContext:
    """The files as they are now. Raises InvalidSettings, which names the file and shows nothing of it."""
    context = _trusting("KAFKA_SSL_CA_FILE", settings.kafka_ssl_ca_file)
    context.check_hostname = settings.kafka_ssl_check_hostname
    certificate, key = settings.kafka_ssl_certificate_file, settings.kafka_ssl_key_file
    if certificate is None:
        return context
    _text("KAFKA_SSL_CERTIFICATE_FILE", certificate)
    if key is not None:
        _text("KAFKA_SSL_KEY_FILE", key)
    # Never None: OpenSSL would ask on the terminal.
    password = _secret("KAFKA_SSL_KEY_PASSWORD_FILE", settings.kafka_ssl_key_password_file) or ""
    try:
        context.load_cert_chain(certificate, key, password)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "no certificate and key in PEM, or another password"
        raise InvalidSettings(
            f"KAFKA_SSL_CERTIFICATE_FILE={certificate} with KAFKA_SSL_KEY_FILE={key or certificate} cannot be used: "
            f"{reason}."
        ) from error
    return context


def _trusting(name: str, path: Path | None) -> ssl.SSLContext:
    if path is None:
        return ssl.create_default_context()
    try:
        # Comments between the certificates may be in any language; OpenSSL takes ASCII.
        return ssl.create_default_context(cadata=_text(name, path).encode("ascii", "ignore").decode())
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSettings(f"{name}={path} cannot be used: it holds no certificates in PEM.") from error


def _secret(name: str, path: Path | None) -> str | None:
    return None if path is None else _text(name, path).rstrip("\r\n")


def _text(name: str, path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        because = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidSettings(f"{name}={path} cannot be read: {because}.") from error
    if not text.strip():
        raise InvalidSettings(f"{name}={path} cannot be used: it is empty.")
    return text


class _FreshContext(ssl.SSLContext):
    """Stands for the context that the files make when a connection begins."""

    def __new__(cls, _settings: SecuritySettings) -> _FreshContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, settings: SecuritySettings) -> None:
        self._settings = settings

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """What asyncio and uvloop call for each connection."""
        try:
            return read_context(self._settings).wrap_bio(*arguments, **named)
        except InvalidSettings as error:  # half of a change was seen: the client tries again, as after any failure
            raise OSError(str(error)) from error
