"""Settings, log and health of a process."""

from __future__ import annotations

import logging

import pytest

from shared.errors import InvalidSettings
from shared.runtime.http import Health
from shared.runtime.logging import ThinOut
from shared.runtime.settings import KafkaSettings, describe_settings, help_text, load_settings


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it is for."""
    monkeypatch.delenv("SERVICE_NAME", raising=False)
    with pytest.raises(InvalidSettings, match=r"SERVICE_NAME is not set\. It is required: Name of this service"):
        load_settings(KafkaSettings)


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, value, and what is allowed."""
    monkeypatch.setenv("SERVICE_NAME", "x")
    monkeypatch.setenv("HTTP_PORT", "70000")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(KafkaSettings)
    first, second = str(caught.value).splitlines()
    assert first.startswith("LOG_LEVEL='loud' is not allowed: Input should be 'debug', 'info', 'warning' or 'error'")
    assert second.startswith("HTTP_PORT='70000' is not allowed: Input should be less than or equal to 65535")


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose passes an unset variable on as an empty one."""
    monkeypatch.setenv("SERVICE_NAME", "x")
    monkeypatch.setenv("KAFKA_TOPIC", "")
    assert load_settings(KafkaSettings).kafka_topic == "nginx_logs"


def test_help_names_every_variable() -> None:
    """With its default and its meaning."""
    text = help_text(KafkaSettings, "usage")
    rows = list(describe_settings(KafkaSettings))
    assert len(rows) == len(KafkaSettings.model_fields)
    assert all(row.variable in text and row.description in text for row in rows)


def test_repeated_messages_of_a_library_are_thinned_out() -> None:
    """The first one passes; after the interval the next one tells how many were held back."""
    clock = iter([0.0, 1.0, 2.0, 61.0, 62.0])
    thin_out = ThinOut(60.0, lambda: next(clock))
    records = [logging.LogRecord("aiokafka", logging.ERROR, "", 0, "no broker at %s", ("x",), None) for _ in range(5)]
    assert [thin_out.filter(record) for record in records] == [True, False, False, True, False]
    assert records[0].getMessage() == "no broker at x"
    assert records[3].getMessage() == "no broker at x (and 2 more like it)"


def test_a_main_loop_that_stands_still_is_noticed() -> None:
    """After the bound, and not before; one turn mends it."""
    now = [0.0]
    health = Health(lambda: now[0], stalled_after_s=60)
    now[0] = 59
    assert health.stalled_for_s == 0
    now[0] = 61
    assert health.stalled_for_s == 61
    health.progressed()
    assert health.stalled_for_s == 0
    assert not health.ready
