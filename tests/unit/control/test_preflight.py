"""A wrong setting is told before anything is touched."""

from __future__ import annotations

import pytest

from compose.control.preflight import check_settings
from compose.control.topology import Service, read_services
from compose.errors import OperatorError
from tests.unit.stack.test_compose_files import ROOT


def services(**variables: str) -> list[Service]:
    return list(read_services((ROOT / "compose" / "services.yaml").read_text(), variables).values())


def test_the_settings_of_the_stack_are_right() -> None:
    """As they are without any variable."""
    check_settings(services())


def test_every_wrong_setting_is_named_once() -> None:
    """Though several services would refuse it."""
    with pytest.raises(OperatorError) as caught:
        check_settings(services(AUTO_OFFSET_RESET="foo", PARTITION_BY="color", KAFKA_TOPIC_PARTITIONS="0"))
    told = str(caught.value)
    assert told.count("AUTO_OFFSET_RESET='foo' is not allowed") == 1
    assert "PARTITION_BY='color' is not allowed" in told
    assert "KAFKA_TOPIC_PARTITIONS='0' is not allowed" in told


def test_settings_that_contradict_each_other_are_told() -> None:
    """Such a sentence begins with no single variable."""
    with pytest.raises(OperatorError, match="KAFKA_TOPIC and KAFKA_STATE_TOPIC are both 'nginx_logs_state'"):
        check_settings(services(KAFKA_TOPIC="nginx_logs_state"))
