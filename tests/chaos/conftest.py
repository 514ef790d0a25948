"""One broker for the short selection; the whole suite is `make chaos`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.auditor import Mode
from tests.chaos.kafka import Kafka, one_node
from tests.chaos.scene import Plan
from tests.java import begin_with_learnt_classes

SEED = 4


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    begin_with_learnt_classes()
    with one_node(tmp_path_factory.mktemp("chaos")) as started:
        yield started


@pytest.fixture
def plan() -> Plan:
    """The same moments each time, few of them."""
    return Plan(Mode.EXACTLY_ONCE, SEED, short=True)
