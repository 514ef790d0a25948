"""The stack with compose/secure.yaml on a real engine: records flow, and no secret is where others could read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compose.control.secured import USER, containers_gid, trusting
from compose.control.topology import read_services
from compose.local.broker import answers
from compose.security.folder import SecretFolder
from tests.compose.stack import ROOT, Stack, run

OVERLAY = "compose/secure.yaml"
LINES = 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SecretFolder:
    """As `make up SECURE=1` makes it."""
    made = SecretFolder(tmp_path_factory.mktemp("secured") / "secure", containers_gid())
    overlay = read_services((ROOT / OVERLAY).read_text(), {})
    made.prepare(service.environment[USER] for service in overlay.values() if USER in service.environment)
    return made


@pytest.fixture(scope="module")
def secured(image: str, folder: SecretFolder) -> Iterator[Stack]:
    """The producer and the two default groups, without the demo."""
    variables = {
        "SECURE_DIR": str(folder.path),
        "SECURE_GID": str(containers_gid()),
        "DEMO_REPLICAS": "0",
        "CONSUMER_REPLICAS": "1",
    }
    with Stack(image, variables, (OVERLAY,)) as stack:
        stack.compose("up", "--detach", "--no-build")
        stack.wait_until_healthy({"kafka": 1, "producer": 1, "consumer": 1, "archiver": 1})
        yield stack


def test_each_group_receives_every_line_exactly_once(secured: Stack) -> None:
    """Each container reads its secrets as a user that is not root."""
    secured.write_lines("secured", LINES)
    secured.wait_until_received("secured", LINES)
    assert set(secured.printed("consumer", "secured").values()) == {1}
    assert set(secured.archived("secured").values()) == {1}


def test_the_port_of_this_machine_wants_encryption(secured: Stack, folder: SecretFolder) -> None:
    assert not answers(secured.kafka_port)
    assert answers(secured.kafka_port, trusting(folder))


def test_a_container_sees_the_secrets_of_its_own_principal_and_no_other(secured: Stack, folder: SecretFolder) -> None:
    for name in ("producer", "consumer", "archiver"):
        seen = secured.compose("exec", "--no-TTY", name, "find", "/run", "-name", "password", "-o", "-name", "*.pem")
        assert set(seen.split()) == {"/run/kafka-client/password", "/run/kafka-client/ca.pem"}, name
        password = secured.compose("exec", "--no-TTY", name, "cat", "/run/kafka-client/password")
        assert password == (folder.client(name) / "password").read_text(), name


def secrets_in(folder: SecretFolder) -> list[str]:
    """Passwords, what proves them, the private key."""
    passwords = [file.read_text() for file in folder.path.glob("clients/*/password")]
    proofs = [
        line.split('saltedpassword="')[1][:40]
        for line in folder.scram_arguments.read_text().splitlines()
        if "saltedpassword" in line
    ]
    assert len(passwords) == len(proofs)
    return [*passwords, *proofs, folder.keystore.read_text().splitlines()[1]]


def test_nothing_secret_is_told_by_the_engine(secured: Stack, folder: SecretFolder, image: str) -> None:
    """Neither by `docker inspect` nor by the logs, the processes, or the layers of the images."""
    ids = [one.id for one in secured.containers()]
    told = {"inspect": run(["docker", "inspect", *ids], {})}
    for one in secured.containers():
        told[f"logs of {one.service}"] = run(["docker", "logs", one.id], {})
        if one.running:
            told[f"processes of {one.service}"] = run(["docker", "top", one.id, "-eo", "pid,args"], {})
    told["image"] = run(["docker", "history", "--no-trunc", image], {})
    for place, text in told.items():
        assert not [secret for secret in secrets_in(folder) if secret in text], place
