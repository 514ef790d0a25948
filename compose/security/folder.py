"""The folder with the secrets of a stack. Each container sees its own part of it and no other.

    authority/            signs; stays on this machine
    broker/               certificate with key, what to trust, what the storage is formatted with
    clients/PRINCIPAL/    password, what to trust

Files are written beside their place and renamed into it: a reader sees the old one or the new one, never half of it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from compose.errors import OperatorError
from compose.security.authority import Identity, issue, make_authority

# The principal of the broker itself, by its certificate; and that of the topics service and the make verbs.
BROKER = "kafka"
ADMIN = "admin"
AUTHORITY = "nginx-kafka-pipeline"
# How a broker of this stack is reached: by its service name, by itself, from this machine.
REACHED_BY = ("kafka", "localhost", "127.0.0.1")
# Where its container sees `broker/`.
CONTAINER_FOLDER = "/run/kafka-broker"
# What Kafka's own storage tool takes. It slows down guessing and no more: whoever has a salted password can log in.
SCRAM_ITERATIONS = 8_192
# The one broker of a secured stack: `node.id` of the kraft flavour.
BROKER_ID = 1
RENEW_BEFORE = timedelta(days=30)
IMAGE_GID = 10_001

# Kafka's command line tools in the broker's container come as the broker itself, which needs no password.
_CLIENT_PROPERTIES = """\
security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/truststore.pem
"""
# Only what formatting looks at; the broker runs with the settings of its container.
_FORMAT_PROPERTIES = """\
process.roles=broker,controller
node.id={broker_id}
controller.quorum.voters={broker_id}@localhost:9093
controller.listener.names=CONTROLLER
listeners=INTERNAL://:9092,CONTROLLER://:9093
advertised.listeners=INTERNAL://kafka:9092
listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
log.dirs=/var/lib/kafka/data
"""


@dataclass(frozen=True)
class SecretFolder:
    """The folder at `path`; `gid` is the group whose members may read what is for containers, None for nobody else."""

    path: Path
    gid: int | None = None

    @property
    def keystore(self) -> Path:
        return self.path / "broker" / "keystore.pem"

    @property
    def truststore(self) -> Path:
        return self.path / "broker" / "truststore.pem"

    @property
    def scram_arguments(self) -> Path:
        """Arguments for formatting the broker's storage: every principal with what proves its password."""
        return self.path / "broker" / "scram"

    def client(self, principal: str) -> Path:
        """The folder of one principal."""
        return self.path / "clients" / principal

    def prepare(self, principals: Iterable[str], now: datetime | None = None) -> None:
        """Make what is missing and keep what is there. A certificate that ends soon, or that clients would not trust,
        is made anew; a broker that runs has to be told.

        Raises OperatorError for a principal that the broker's storage was formatted without, and without the key of the
        authority whose certificates are in use.
        """
        now = now or datetime.now(UTC)
        wanted = sorted({ADMIN, *principals})
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.scram_arguments.exists():
            self._refuse_unknown(wanted)
        authority = self._authority(now)
        self._write(self.path / "broker" / "client.properties", _CLIENT_PROPERTIES.format(folder=CONTAINER_FOLDER))
        self._write(self.path / "broker" / "format.properties", _FORMAT_PROPERTIES.format(broker_id=BROKER_ID))
        passwords = {principal: self._password(principal) for principal in wanted}
        self._tell_whom_to_trust()
        if not self.scram_arguments.exists():
            self._write(self.scram_arguments, _scram_arguments(passwords))
        if not self._is_good_until(now + RENEW_BEFORE):
            self._issue(authority, now)

    def renew(self, *, authority: bool = False, now: datetime | None = None) -> datetime:
        """A new key and certificate for the broker; the moment when they end. The broker has to be told.

        With `authority` a new one signs them, and the one before it is trusted until the next time. Then the broker has
        to be started anew: in one that runs Kafka takes no certificate that it would not have trusted before. An
        interruption leaves files that fit together, and the next time goes on from there.
        """
        now = now or datetime.now(UTC)
        signs = self._authority(now)
        # Else a change of the authority was interrupted before the broker got its certificate: two steps at once would
        # take the trust from the one that it shows.
        if authority and self._has_signed(_load(identity_in(self.keystore).certificate)):
            made = make_authority(AUTHORITY, now)
            self._write(self._previous_file, signs.certificate, private=True)
            self._write(self.authority_file, made.key + made.certificate, private=True)
            signs = made
        self._tell_whom_to_trust()
        self._issue(signs, now)
        return identity_in(self.keystore).expires_at

    def secrets(self) -> list[str]:
        """What must be read nowhere else: passwords, what proves them, a line of each private key."""
        passwords = [file.read_text() for file in sorted(self.path.glob("clients/*/password"))]
        proofs = re.findall('saltedpassword="([^"]+)"', self.scram_arguments.read_text())
        keys = [file.read_text().splitlines()[1] for file in (self.keystore, self.authority_file)]
        return [*passwords, *proofs, *keys]

    @property
    def authority_file(self) -> Path:
        """Certificate and key of the authority."""
        return self.path / "authority" / "authority.pem"

    @property
    def _previous_file(self) -> Path:
        return self.path / "authority" / "previous.pem"

    def _authority(self, now: datetime) -> Identity:
        if not self.authority_file.exists():
            if self.keystore.exists():
                raise OperatorError(
                    f"{self.authority_file} is missing, which has signed the broker's certificate. A new authority "
                    "would be one that no client trusts. Nothing was changed.",
                    "Put the file back (its key signs the next certificate). Without it: make clean starts over, "
                    "without the data.",
                )
            made = make_authority(AUTHORITY, now)
            self._write(self.authority_file, made.key + made.certificate, private=True)
        return identity_in(self.authority_file)

    def has_signed(self, certificate: bytes) -> bool:
        """Whether today's authority has signed a certificate (DER)."""
        return self._has_signed(x509.load_der_x509_certificate(certificate))

    def _has_signed(self, certificate: x509.Certificate) -> bool:
        return _is_signed_by(certificate, _load(self._authority(datetime.now(UTC)).certificate))

    def _is_good_until(self, moment: datetime) -> bool:
        """Whether clients trust the broker's certificate until then."""
        if not self.keystore.exists():
            return False
        shown = _load(identity_in(self.keystore).certificate)
        trusted = x509.load_pem_x509_certificates(self.truststore.read_bytes())
        return shown.not_valid_after_utc >= moment and any(_is_signed_by(shown, each) for each in trusted)

    def _tell_whom_to_trust(self) -> None:
        previous = self._previous_file.read_text() if self._previous_file.exists() else ""
        trusted = identity_in(self.authority_file).certificate + previous
        self._write(self.truststore, trusted)
        for client in (self.path / "clients").iterdir():
            self._write(client / "ca.pem", trusted)

    def _issue(self, authority: Identity, now: datetime) -> None:
        made = issue(authority, BROKER, REACHED_BY, now)
        self._write(self.keystore, made.key + made.certificate)

    def _refuse_unknown(self, wanted: Iterable[str]) -> None:
        missing = [principal for principal in wanted if not (self.client(principal) / "password").exists()]
        if missing:
            raise OperatorError(
                f"The broker was set up without {', '.join(missing)}.",
                "docs/security.md tells how a principal is added; make clean starts over, without the data.",
            )

    def _password(self, principal: str) -> str:
        file = self.client(principal) / "password"
        if not file.exists():
            self._write(file, secrets.token_urlsafe(32))
        return file.read_text()

    def _write(self, path: Path, text: str, *, private: bool = False) -> None:
        """In one step, with its mode from the beginning."""
        shared = self.gid is not None and not private
        path.parent.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if shared:
            os.chown(path.parent, -1, self.gid or 0)
            path.parent.chmod(0o750)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        if shared:
            os.chown(draft, -1, self.gid or 0)
            draft.chmod(0o440)
        draft.replace(path)


def identity_in(file: Path) -> Identity:
    """What one of these files holds: a private key and its certificate."""
    key, mark, certificate = file.read_text().partition("-----BEGIN CERTIFICATE-----")
    return Identity(mark + certificate, key)


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _scram_arguments(passwords: Mapping[str, str]) -> str:
    """One argument a line. The storage tool could salt by itself, and would be told every password for it."""
    return "".join(f"--add-scram\n{_scram(name, password)}\n" for name, password in passwords.items())


def _scram(name: str, password: str) -> str:
    salt = secrets.token_bytes(32)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
    return (
        f'SCRAM-SHA-512=[name={name},salt="{base64.b64encode(salt).decode()}",'
        f'saltedpassword="{base64.b64encode(salted).decode()}",iterations={SCRAM_ITERATIONS}]'
    )
