"""SECURE=1: what the stack consists of then, who logs in, and how the verbs do."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compose.control.flavours import KRAFT, Flavour
from compose.control.state import StackState
from compose.control.topology import Service, read_services
from compose.errors import OperatorError
from compose.local.ports import LOOPBACK
from compose.local.processes import local_value
from compose.security.authority import ends_at
from compose.security.folder import IMAGE_GID, RENEW_BEFORE, SecretFolder, identity_in

VARIABLE = "SECURE"
OVERLAY = Path("compose") / "secure.yaml"
FOLDER = Path(".run") / "secure"
USER = "KAFKA_SASL_USERNAME"
LOGIN_SETTINGS = ("KAFKA_SECURITY_", "KAFKA_SASL_", "KAFKA_SSL_")
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
    value = variables.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise OperatorError(f"SECURE={value} is not known.", "Use SECURE=1, or leave it out.")
    return value == "1"


def with_choice(variables: Mapping[str, str], *, is_secured: bool) -> dict[str, str]:
    """The variables for a stack that was set up so, whatever is typed now."""
    return {**variables, VARIABLE: "1" if is_secured else ""}


def check_flavour(variables: Mapping[str, str], flavour: Flavour) -> None:
    """Whether SECURE=1 can be had with this Kafka. Raises OperatorError."""
    if is_wanted(variables) and flavour.name != KRAFT:
        raise OperatorError(
            f"SECURE=1 secures the broker of KAFKA={KRAFT}; KAFKA={flavour.name} is another Kafka: {flavour.what}.",
            "Leave one of them out (an empty value takes an earlier choice back).",
        )


def check_unchanged(held: Collection[str], state: StackState, wanted: Secrets | None) -> None:
    """The broker's data know the users, or do not: there is no way from one to the other. Raises OperatorError.

    `held` names the flavours whose data is here.
    """
    if not held:
        return
    has_users = wanted is not None and wanted.folder.scram_arguments.exists()
    if not state.kafka:  # forgotten, as after `git clean`
        if wanted and not has_users:
            raise OperatorError(
                "There is data of an earlier stack. Whether that was set up with SECURE=1 is not known any more, and "
                f"its passwords are not in {wanted.folder.path}. Nothing was changed.",
                "If it was: put that folder back. If it never was: make up SECURE= goes on without, open to everybody "
                "on this machine. Or start over without the data: make clean",
            )
        return
    if state.secured != (wanted is not None):
        before, now = ("with", "without") if state.secured else ("without", "with")
        raise OperatorError(
            f"The stack that is there was set up {before} SECURE=1, and is now to run {now} it. Nothing was changed.",
            f"Go on as before: make up SECURE={'1' if state.secured else ''}. Or start over without the data: "
            "make clean",
        )
    if wanted and not has_users:
        raise OperatorError(
            f"The broker's data know the passwords that were in {wanted.folder.path}, and those are gone. New ones "
            "would let nobody in. Nothing was changed.",
            "Put that folder back, or start over without the data: make clean",
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


def shown_in(folder: SecretFolder) -> bytes:
    """The certificate that is in the broker's file."""
    return ssl.PEM_cert_to_DER_cert(identity_in(folder.keystore).certificate)


def wait_until_served(folder: SecretFolder, port: int) -> None:
    """Return when new connections see the certificate that is in the file. Raises OperatorError."""
    give_up_at = time.monotonic() + SERVED_TIMEOUT_S
    while served_at(folder, port) != shown_in(folder):
        if time.monotonic() > give_up_at:
            raise OperatorError(
                f"The broker still shows its old certificate at port {port} after {SERVED_TIMEOUT_S:g} s.",
                "make logs SERVICE=kafka tells why; after make restart SERVICE=kafka it has the new one.",
            )
        time.sleep(POLL_INTERVAL_S)


def served_at(folder: SecretFolder, port: int) -> bytes | None:
    """The certificate that a new connection sees; None where there is none that clients trust."""
    try:
        with (
            socket.create_connection((LOOPBACK, port), timeout=SERVED_TIMEOUT_S) as plain,
            trusting(folder).wrap_socket(plain, server_hostname=LOOPBACK) as connection,
        ):
            return connection.getpeercert(binary_form=True)
    except OSError:
        return None


def remark_on(served: bytes, in_file: bytes, now: datetime) -> str | None:
    """What is not well with the certificate that the broker shows, both in DER; None when all is."""
    left = ends_at(served) - now
    if left < RENEW_BEFORE:
        return f"The broker's certificate ends in {left.days} days. A new one, while all goes on: make certificates"
    if served != in_file:
        return "The broker does not show the certificate that is in its file. To let it: make up"
    return None
