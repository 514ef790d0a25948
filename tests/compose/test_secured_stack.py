"""The stack with compose/secure.yaml on a real engine: records flow, and no secret is where others could read it."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from compose.control.secured import USER, containers_gid, trusting
from compose.control.topology import read_services
from compose.local.broker import answers
from compose.security.folder import SecretFolder
from tests.compose.stack import ROOT, Stack, run
from tests.repository import Repository

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


# Runs in a container, with the settings and the files of its service.
TRIES = """
import asyncio, json, socket, ssl, struct
from aiokafka import AIOKafkaProducer
from shared.kafka.connection import client_options
from shared.runtime.settings import KafkaSettings, load_settings

API_VERSIONS, METADATA = struct.pack(">hhih", 18, 0, 1, -1), struct.pack(">hhihi", 3, 1, 1, -1, -1)
settings = load_settings(KafkaSettings)
trusting = ssl.create_default_context(cafile=str(settings.kafka_ssl_ca_file))

async def publish():
    producer = AIOKafkaProducer(**client_options(settings))
    await producer.start()
    try:
        await producer.send_and_wait("nginx_logs", b"x")
    except Exception as error:
        return type(error).__name__
    finally:
        await producer.stop()

def answers(port, request, tls=None):
    try:
        with socket.create_connection(("kafka", port), timeout=5) as plain:
            with tls.wrap_socket(plain, server_hostname="kafka") if tls else plain as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                return connection.recv(8)[4:] == struct.pack(">i", 1)  # the request's number; an alert of TLS has none
    except OSError:
        return False

print(json.dumps({
    "publish": asyncio.run(publish()),
    "in the clear": [port for port in (9092, 9093, 9094) if answers(port, API_VERSIONS)],
    "without a certificate": [port for port in (9093, 9094) if answers(port, API_VERSIONS, trusting)],
    "without a password": [answers(9092, METADATA, trusting)],
    "before the password": [answers(9092, API_VERSIONS, trusting)],
}))
"""


def test_a_consumers_container_writes_no_records_and_opens_no_door(secured: Stack) -> None:
    """Without an authorizer, or with a listener that forgot its lock, it could."""
    said = secured.compose("exec", "--no-TTY", "consumer", "python", "-", sent=TRIES)
    assert json.loads(said) == {
        "publish": "TopicAuthorizationFailedError",
        "in the clear": [],
        "without a certificate": [],
        "without a password": [False],
        "before the password": [True],  # which versions it speaks: else the question itself would be wrong
    }


def test_nothing_secret_is_told_by_the_engine(secured: Stack, folder: SecretFolder) -> None:
    """Neither by `docker inspect` nor by the logs or the processes."""
    ids = [one.id for one in secured.containers()]
    told = {"inspect": run(["docker", "inspect", *ids], {})}
    for one in secured.containers():
        told[f"logs of {one.service}"] = run(["docker", "logs", one.id], {})
        if one.running:
            told[f"processes of {one.service}"] = run(["docker", "top", one.id, "-eo", "pid,args"], {})
    for place, text in told.items():
        assert not [secret for secret in folder.secrets() if secret in text], place


def test_an_image_that_is_built_beside_the_secrets_holds_none(tmp_path: Path) -> None:
    """In none of its layers, and in none of the commands that made them."""
    copied = Repository.copied_to(tmp_path / "copy", {}).folder
    made = SecretFolder(copied / ".run" / "secure")
    made.prepare(["producer"])
    tag, saved = f"pipeline-test-{uuid.uuid4().hex[:8]}:secret", tmp_path / "image.tar"
    run(["docker", "build", "--quiet", "--tag", tag, "--file", str(copied / "compose" / "Dockerfile"), str(copied)], {})
    try:
        run(["docker", "save", "--output", str(saved), tag], {})
    finally:
        run(["docker", "image", "rm", "--force", tag], {})
    ours = b"Every variable of the one-shot"  # of services/topics/settings.py: what is there is found
    found = set(found_in(saved, [ours, *(secret.encode() for secret in made.secrets())]))
    assert found == {ours}


def found_in(image: Path, wanted: Sequence[bytes]) -> Iterator[bytes]:
    """Which of them stand in a file of a layer, or in what describes the image."""
    with tarfile.open(image) as outer:
        for member in outer.getmembers():
            if not member.isfile() or (opened := outer.extractfile(member)) is None:
                continue
            content = opened.read()
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as layer:
                    texts = [layer.extractfile(one) for one in layer.getmembers() if one.isfile()]
                    contents = [text.read() for text in texts if text is not None]
            except tarfile.ReadError:  # a description
                contents = [content]
            yield from (each for each in wanted for text in contents if each in text)
