"""SECURE=1: what the stack consists of then, who logs in, and how the verbs do."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.control.topology import Service, read_services
from compose.errors import OperatorError
from compose.local.ports import LOOPBACK
from compose.local.processes import local_value
from compose.security.folder import IMAGE_GID, SecretFolder

OVERLAY = Path("compose") / "secure.yaml"
FOLDER = Path(".run") / "secure"
USER = "KAFKA_SASL_USERNAME"
LOGIN_SETTINGS = ("KAFKA_SECURITY_", "KAFKA_SASL_", "KAFKA_SSL_")
# What these may be beside SECURE=1.
_OWN_BROKER = {"KAFKA": ("", "kraft"), "KAFKA_BOOTSTRAP_SERVERS": ("",)}
SERVED_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Secrets:
    """The files of a secured stack, the folder in which the broker sees its own, and its listeners."""

    folder: SecretFolder
    broker_folder: str
    listeners: tuple[str, ...]


def is_wanted(variables: Mapping[str, str]) -> bool:
    """Whether the stack is to be a secured one. Raises OperatorError for a value that says neither yes nor no."""
    value = variables.get("SECURE", "")
    if value not in ("", "0", "1"):
        raise OperatorError(f"SECURE={value} is not known.", "Use SECURE=1, or leave it out.")
    for name, own in _OWN_BROKER.items():
        if value == "1" and variables.get(name, "") not in own:
            raise OperatorError(
                f"SECURE=1 secures the one broker of the stack's own; {name}={variables[name]} is another Kafka.",
                "Leave one of them out (an empty value takes an earlier choice back).",
            )
    return value == "1"


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """The broker's data know the users, or do not: there is no way from one to the other. Raises OperatorError."""
    if is_wanted(before) != is_wanted(now):
        was, is_now = ("with", "without") if is_wanted(before) else ("without", "with")
        keep = "SECURE=1" if is_wanted(before) else "SECURE="
        raise OperatorError(
            f"The stack that is there was set up {was} SECURE=1, and is now to run {is_now} it. Nothing was changed.",
            f"Go on as before with {keep}, or start over without the data: make clean {keep}",
        )


def overlay_services(root: Path, variables: Mapping[str, str]) -> dict[str, Service]:
    """What compose/secure.yaml says; nothing without SECURE=1."""
    return read_services((root / OVERLAY).read_text(), variables) if is_wanted(variables) else {}


def secret_folder(root: Path, gid: int | None) -> SecretFolder:
    """Where the secrets of this stack are."""
    return SecretFolder(root / FOLDER, gid)


def prepare(folder: SecretFolder, overlay: Mapping[str, Service]) -> None:
    """Certificates and passwords for everybody whom the overlay names; what is there stays."""
    folder.prepare(service.environment[USER] for service in overlay.values() if USER in service.environment)


def containers_gid() -> int:
    """The group by which containers read the secrets: that of whoever runs make; root gives them one of their own."""
    return os.getgid() if os.geteuid() else IMAGE_GID


def login(service: Service, root: Path) -> dict[str, str]:
    """How this machine's tools log in as a service does, as settings; nothing where nobody has to."""
    folders = {target: root / source for target, source in service.mounts.items() if "/" in source}
    return {
        name.lower(): local_value(value, folders)
        for name, value in service.environment.items()
        if value and name.startswith(LOGIN_SETTINGS)
    }


def trusting(folder: SecretFolder) -> ssl.SSLContext:
    """To ask the broker on this machine with."""
    return ssl.create_default_context(cafile=str(folder.truststore))


def wait_until_served(folder: SecretFolder, port: int) -> None:
    """Return when new connections see the certificate that is in the file. Raises OperatorError."""
    marks = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    _key, begin, rest = folder.keystore.read_text().partition(marks[0])
    wanted = ssl.PEM_cert_to_DER_cert(begin + rest)
    give_up_at = time.monotonic() + SERVED_TIMEOUT_S
    while _served(folder, port) != wanted:
        if time.monotonic() > give_up_at:
            raise OperatorError(
                f"The broker still shows its old certificate after {SERVED_TIMEOUT_S:g} s.",
                "make logs SERVICE=kafka tells why; after make restart SERVICE=kafka it has the new one.",
            )
        time.sleep(POLL_INTERVAL_S)


def _served(folder: SecretFolder, port: int) -> bytes | None:
    try:
        with (
            socket.create_connection((LOOPBACK, port), timeout=SERVED_TIMEOUT_S) as plain,
            trusting(folder).wrap_socket(plain, server_hostname=LOOPBACK) as connection,
        ):
            return connection.getpeercert(binary_form=True)
    except OSError:
        return None
