"""A wrong setting is told before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from compose.control.flavours import FLAVOURS
from compose.control.preflight import check_settings
from compose.control.stack import Stack
from compose.control.topology import Service, read_services
from compose.control.verbs import STACK_VERBS, Options
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


class Untouched:
    """A stack that was told of a configuration of nginx that is not there; whoever starts it has not looked."""

    mode = "docker"
    flavour = FLAVOURS["kraft"]

    def variables(self) -> Mapping[str, str]:
        return {"NGINX_CONF": "/etc/nginx/nope.conf", "NGINX_CONF_DIR": "/nowhere"}

    def open_output(self, _service: str) -> None:
        return None


def test_a_configuration_that_is_missing_ends_up_before_anything_is_started() -> None:
    """By the path of this machine, not by the container's."""
    with pytest.raises(OperatorError, match=r"NGINX_CONF='/nowhere/nope\.conf' is not usable"):
        STACK_VERBS["up"](cast("Stack", Untouched()), Options(), ())
