"""Settings, log and health of a process."""

from __future__ import annotations

import logging
import socket
import time

import pytest
from prometheus_client import CollectorRegistry

from services.producer.settings import ProducerSettings
from services.topics.settings import TopicsSettings
from shared.errors import FatalError, InvalidSettings
from shared.runtime.http import Health, serve_http
from shared.runtime.logging import ThinOut
from shared.runtime.settings import KafkaSettings, ServiceSettings, describe_settings, help_text, load_settings


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


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        *(
            (variable, value, f"{variable}={value!r} is not allowed: Kafka lets a topic's name be 1 to 249 of")
            for variable in ("KAFKA_TOPIC", "KAFKA_DEAD_LETTER_TOPIC", "KAFKA_STATE_TOPIC")
            for value in ("bad topic!", "..", ".", "x" * 250, "künste", "a\n")
        ),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:99999", "the port of 'b:99999' is none of 1 to 65535"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:0", "the port of 'a:0' is none of 1 to 65535"),
        ("KAFKA_BOOTSTRAP_SERVERS", ":9092", "':9092' is no `host:port`"),
        ("REPORT_INTERVAL_S", "inf", "REPORT_INTERVAL_S='inf' is not allowed: Input should be a finite number"),
        ("REPORT_INTERVAL_S", "nan", "REPORT_INTERVAL_S='nan' is not allowed: Input should be a finite number"),
        ("FENCE_INTERVAL_S", "inf", "FENCE_INTERVAL_S='inf' is not allowed: Input should be a finite number"),
    ],
)
def test_what_nothing_could_work_with_is_refused_at_the_start(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka would tell much later, or never."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(ProducerSettings)
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["a", "x" * 249, "a.b_c-9", "..."])
def test_a_name_that_kafka_allows_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", name)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a, b:1,[::1]:65535")
    assert load_settings(TopicsSettings).kafka_topic == name


@pytest.mark.parametrize("kind", [ProducerSettings, TopicsSettings])
@pytest.mark.parametrize("other", ["KAFKA_TOPIC", "KAFKA_DEAD_LETTER_TOPIC"])
def test_the_state_topic_is_a_topic_of_its_own(
    kind: type[KafkaSettings], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction would delete records; both settings are named."""
    monkeypatch.setenv(other, "one")
    monkeypatch.setenv("KAFKA_STATE_TOPIC", "one")
    with pytest.raises(InvalidSettings, match=f"{other} and KAFKA_STATE_TOPIC are both 'one'; they must be two topics"):
        load_settings(kind)


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


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("not.an.address.invalid", "Set HTTP_HOST to an address of this machine"),
        ("192.0.2.1", "Set HTTP_HOST to an address of this machine"),
        ("127.0.0.1", "Set HTTP_PORT to a free port"),
    ],
)
async def test_a_place_to_listen_that_is_none_comes_with_the_setting_to_change(host: str, advice: str) -> None:
    """A port that is taken is another matter than an address that is not here."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServiceSettings(service_name="x", http_host=host, http_port=taken.getsockname()[1])
        health = Health(time.monotonic, 60)
        with pytest.raises(FatalError, match=advice):
            async with serve_http(settings, health, CollectorRegistry()):
                pass
