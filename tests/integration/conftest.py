"""A real broker for the session, and topics of its own for each test.

KAFKA_BOOTSTRAP_SERVERS names a broker to use instead; tests that stop the broker are skipped then.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from compose.local.broker import Broker
from tests.java import begin_with_learnt_classes
from tests.postgres_server import database, postgres_server

__all__ = ["database", "postgres_server"]

PARTITION_COUNT = 8
DEADLINE_S = 120.0
METADATA_POLL_INTERVAL_S = 0.02


@dataclass(frozen=True)
class Topics:
    """Names that no other test uses. The topics exist."""

    records: str
    dead_letters: str
    state: str
    partition_count: int = PARTITION_COUNT


@pytest.fixture(scope="session", autouse=True)
def _learnt_classes() -> None:
    begin_with_learnt_classes()


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | None]:
    """The broker that this session started; None when an outside one is used."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield None
        return
    started = Broker.prepare(tmp_path_factory.mktemp("kafka"))
    started.start()
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def broker(own_broker: Broker | None) -> str:
    """Bootstrap address."""
    return own_broker.bootstrap_servers if own_broker else os.environ["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture
def breakable_broker(own_broker: Broker | None, topics: Topics) -> Iterator[Broker]:
    """The broker, for tests that stop it; it runs again before the topics are removed."""
    assert topics
    if own_broker is None:
        pytest.skip("the broker of KAFKA_BOOTSTRAP_SERVERS is not this session's to stop")
    yield own_broker
    own_broker.resume()
    own_broker.start()
    own_broker.wait_until_ready()


@pytest.fixture
def topics(broker: str, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """Topics of this test, removed after it. `@pytest.mark.parametrize("topics", [2], indirect=True)`: 2 partitions."""
    with made_topics(broker, getattr(request, "param", PARTITION_COUNT)) as made:
        yield made


@contextmanager
def made_topics(broker: str, partition_count: int) -> Iterator[Topics]:
    """Topics for as long as the context is open."""
    run = uuid.uuid4().hex[:8]
    made = Topics(f"records-{run}", f"dead-letters-{run}", f"state-{run}", partition_count)
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    names = [made.records, made.dead_letters]
    wanted = [NewTopic(name, made.partition_count, 1) for name in names]
    wanted.append(NewTopic(made.state, 1, 1, config={"cleanup.policy": "compact"}))
    create_topics(admin, wanted)
    yield made
    for future in admin.delete_topics([*names, made.state]).values():
        future.result(DEADLINE_S)


def create_topics(admin: AdminClient, wanted: Sequence[NewTopic]) -> None:
    """Return when everybody who asks the broker sees them: its metadata follow the creation by some milliseconds."""
    for future in admin.create_topics(list(wanted)).values():
        future.result(DEADLINE_S)
    give_up_at = time.monotonic() + DEADLINE_S
    while not all(_has_leaders(admin, topic) for topic in wanted):
        assert time.monotonic() < give_up_at, f"no leaders in {DEADLINE_S:g} s: {wanted}"
        time.sleep(METADATA_POLL_INTERVAL_S)


def _has_leaders(admin: AdminClient, wanted: NewTopic) -> bool:
    found = admin.list_topics(timeout=DEADLINE_S).topics.get(wanted.topic)
    return (
        found is not None
        and len(found.partitions) == wanted.num_partitions
        and all(partition.leader >= 0 for partition in found.partitions.values())
    )
