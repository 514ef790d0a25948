"""SINK=alerts without Kafka: what is saved, what is told and when, the webhook, the folder."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from services.consumer.decode import DecodedBatch
from services.consumer.metrics import Metrics
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.alerts import sink as sink_module
from services.consumer.sinks.alerts import state_file, webhook
from services.consumer.sinks.alerts.rules import Rules, parse_rules
from services.consumer.sinks.alerts.sink import AlertsSink
from services.consumer.sinks.alerts.webhook import Verdict, verdict_of, webhook_url
from services.consumer.sinks.base import Measured
from shared.errors import FatalError, InvalidSettings, SinkUnavailable
from tests.unit.consumer.records import batch

DEADLINE_S = 20.0
SECRET = "s3cret"
RULES = parse_rules("window_s = 10\nlateness_s = 0\n[server_errors]\nmin_requests = 1", "rules.toml")


def settings(directory: Path, **others: Any) -> ConsumerSettings:
    return ConsumerSettings(service_name="alerts", sink="alerts", alerts_dir=directory / "alerts", **others)


def timed(times_s: Sequence[float], first: int = 0, status: int = 503, partition: int = 0) -> DecodedBatch:
    """One record for each time; all of them failed."""
    made = batch(first, len(times_s), partition)
    changes = [{"time": datetime.fromtimestamp(time_s, UTC), "status": status} for time_s in times_s]
    pairs = zip(made.records, changes, strict=True)
    return replace(made, records=[record.model_copy(update=change) for record, change in pairs])


def failing(windows: int, first: int = 0) -> DecodedBatch:
    """Every other window fails, so each of these is an alarm; the last record closes the last of them."""
    return timed([1000 + 20 * number for number in range(windows)] + [1000 + 20 * windows], first)


@asynccontextmanager
async def opened(
    directory: Path, url: str | None = None, rules: Rules = RULES, partitions: Sequence[int] = (0,)
) -> AsyncIterator[tuple[AlertsSink, dict[int, int]]]:
    """A sink with an assignment, and where it goes on."""
    sink = AlertsSink(settings(directory), rules, url)
    await sink.open()
    try:
        yield sink, dict(await sink.resume("nginx_logs", partitions))
    finally:
        await sink.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def saved(directory: Path) -> Any:
    return json.loads((directory / "alerts" / "state.json").read_bytes())


class Receiver:
    """A webhook: what it got, and what it answers next; 200 when nothing is said."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.bodies: list[Any] = []
        self.answers: list[int] = []
        self.takes_s = 0.0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        self.bodies.append(await request.json())
        await asyncio.sleep(self.takes_s)
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(sink_module, "WEBHOOK_RETRY_FIRST_S", 0.01)
    receiver = Receiver()
    app = web.Application()
    app.router.add_post(f"/{SECRET}", receiver.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{SECRET}"
    yield receiver
    await runner.cleanup()


async def test_an_alarm_is_told_when_it_is_saved_and_not_before(tmp_path: Path) -> None:
    with capture_logs() as log:
        async with opened(tmp_path) as (sink, _begin):
            await sink.write(failing(2))
            assert not [line for line in log if line["event"] == "alarm"]
            await sink.flush()
    alarms = [line for line in log if line["event"] == "alarm"]
    assert [(one["rule"], one["window_start"]) for one in alarms] == [
        ("server_errors", "1970-01-01T00:16:40Z"),
        ("server_errors", "1970-01-01T00:17:00Z"),
    ]


async def test_a_restart_goes_on_where_the_state_is(tmp_path: Path) -> None:
    """Also when the group has committed less, or nothing: each record counts once."""
    async with opened(tmp_path) as (sink, begin):
        assert begin == {}
        await sink.write(timed([1001, 1002]))
        await sink.flush()
        await sink.write(timed([1003], first=2))
    async with opened(tmp_path) as (sink, begin):
        assert begin == {0: 2}, "what was not flushed is read again"
        await sink.write(timed([1003, 1004], first=2))
        await sink.flush()
        await sink.write(timed([1003, 1004], first=2))
        await sink.flush()
    assert saved(tmp_path)["counting"]["windows"]["100"]["requests"] == 4


async def test_a_batch_without_a_record_moves_the_state(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sink, _begin):
        await sink.write(timed([1001, 1002]))
        await sink.skip(batch(2, 3, 0).without([2, 3, 4]))
        await sink.flush()
    async with opened(tmp_path) as (_sink, begin):
        assert begin == {0: 5}


async def test_a_forgotten_partition_goes_on_where_it_was(tmp_path: Path) -> None:
    """Nobody else can have counted it, so what is not flushed stays; others are unharmed."""
    async with opened(tmp_path, partitions=[0, 1]) as (sink, _begin):
        await sink.write(timed([1001, 1002], partition=0))
        await sink.write(timed([1001, 1002], partition=1))
        sink.forget([0, 7])
        assert await sink.resume("nginx_logs", [0, 1]) == {0: 2, 1: 2}
        await sink.write(timed([1001, 1002], partition=0))
        await sink.flush()
    assert saved(tmp_path)["counting"]["windows"]["100"]["requests"] == 4


async def test_no_window_closes_while_another_member_holds_a_partition(tmp_path: Path) -> None:
    with capture_logs() as log:
        async with opened(tmp_path, partitions=[0, 1]) as (sink, _begin):
            sink.forget([0, 1])
            await sink.resume("nginx_logs", [0])
            await sink.write(failing(3))
            await sink.flush()
    assert [line["partitions"] for line in log if line["event"] == "alert_partitions_missing"] == [[1]]
    assert not [line for line in log if line["event"] == "alarm"]


async def test_records_that_stop_close_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing calls the sink then: it looks at the clock by itself, and saves what it finds."""
    monkeypatch.setattr(sink_module, "TICK_S", 0.01)
    with capture_logs() as log:
        async with opened(tmp_path, rules=RULES.model_copy(update={"idle_s": 1})) as (sink, _begin):
            await sink.write(timed([1001]))
            await until(lambda: any(line["event"] == "alarm" for line in log))
        assert saved(tmp_path)["counting"]["windows"] == {}


async def test_every_alarm_reaches_the_webhook_once_whatever_it_answers_first(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers = [500, 503, 429, 404, 302]
    with capture_logs() as log:
        async with opened(tmp_path, receiver.url) as (sink, _begin):
            await sink.write(failing(3))
            await sink.flush()
            await until(lambda: len(receiver.keys) == 8)
            await until(lambda: saved(tmp_path)["pending"] == [])
    told = [line["id"] for line in log if line["event"] == "alarm"]
    assert receiver.keys == [told[0]] * 5 + told
    assert receiver.bodies[-1]["id"] == told[-1]
    assert receiver.bodies[-1]["group"] == "alerts"
    events = [line["event"] for line in log]
    assert events.count("webhook_unavailable") == events.count("webhook_available") == 1
    async with opened(tmp_path, receiver.url) as (sink, _begin):
        await sink.flush()
    assert len(receiver.keys) == 8, "a restart repeats none"


async def test_what_is_not_delivered_is_delivered_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    async with opened(tmp_path, "http://127.0.0.1:1/") as (sink, _begin):
        await sink.write(failing(2))
        await sink.flush()
    waiting = [one["id"] for one in saved(tmp_path)["pending"]]
    assert len(waiting) == 2
    async with opened(tmp_path, receiver.url):
        await until(lambda: receiver.keys == waiting)


async def test_a_crash_behind_a_delivery_repeats_it_under_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    async with opened(tmp_path, "http://127.0.0.1:1/") as (sink, _begin):
        await sink.write(failing(1))
        await sink.flush()
    before = (tmp_path / "alerts" / "state.json").read_bytes()
    for _crash in range(2):
        (tmp_path / "alerts" / "state.json").write_bytes(before)
        async with opened(tmp_path, receiver.url):
            await until(lambda: saved(tmp_path)["pending"] == [])
    assert len(receiver.keys) == 2
    assert len(set(receiver.keys)) == 1


async def test_the_answer_that_a_shutdown_meets_is_waited_for_and_noted(tmp_path: Path, receiver: Receiver) -> None:
    receiver.takes_s = 0.2
    async with opened(tmp_path, receiver.url) as (sink, _begin):
        await sink.write(failing(3))
        await sink.flush()
        await until(lambda: bool(receiver.keys))
    assert len(receiver.keys) == 1, "no other one is begun with"
    assert len(saved(tmp_path)["pending"]) == 2
    async with opened(tmp_path, receiver.url):
        await until(lambda: saved(tmp_path)["pending"] == [])
    assert len(receiver.keys) == len(set(receiver.keys)) == 3


async def test_a_shutdown_waits_for_a_webhook_that_hangs_no_longer_than_it_may(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "FINISH_TIMEOUT_S", 0.05)
    receiver.takes_s = 1.0
    async with asyncio.timeout(DEADLINE_S / 2), opened(tmp_path, receiver.url) as (sink, _begin):
        await sink.write(failing(1))
        await sink.flush()
        await until(lambda: bool(receiver.keys))
    assert len(saved(tmp_path)["pending"]) == 1


async def test_an_alarm_that_the_webhook_refuses_is_dropped_and_said_so(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers = [400]
    with capture_logs() as log:
        async with opened(tmp_path, receiver.url) as (sink, _begin):
            await sink.write(failing(2))
            await sink.flush()
            await until(lambda: len(receiver.keys) == 2)
    [refused] = [line for line in log if line["event"] == "alarm_refused"]
    assert refused["id"] == receiver.keys[0]
    assert refused["error"] == "the webhook answers 400"


async def test_a_webhook_that_never_answers_holds_nothing_up(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.05)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with capture_logs() as log:
        async with server, opened(tmp_path, f"http://127.0.0.1:{port}/{SECRET}") as (sink, _begin):
            await sink.write(failing(2))
            await sink.flush()
            await until(lambda: any(line["event"] == "webhook_unavailable" for line in log))
            await sink.write(timed([2000], first=3))
            await sink.flush()
    assert (
        "does not answer within 0.05 s" in next(line for line in log if line["event"] == "webhook_unavailable")["error"]
    )


@pytest.mark.parametrize(
    "url", [f"http://127.0.0.1:1/{SECRET}", f"http://{SECRET}.invalid/", f"http://[::1]:1/{SECRET}"]
)
async def test_the_address_of_the_webhook_is_in_no_line(tmp_path: Path, url: str) -> None:
    with capture_logs() as log:
        async with opened(tmp_path, url) as (sink, _begin):
            await sink.write(failing(1))
            await sink.flush()
            await until(lambda: any(line["event"] == "webhook_unavailable" for line in log))
    assert SECRET not in repr(log)


async def test_of_too_many_that_wait_the_oldest_are_dropped_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "MAX_PENDING", 3)
    with capture_logs() as log:
        async with opened(tmp_path, "http://127.0.0.1:1/") as (sink, _begin):
            await sink.write(failing(3))
            await sink.flush()
            await sink.write(timed([1080, 1100], first=4))
            await sink.flush()
    told = [line["id"] for line in log if line["event"] == "alarm"]
    assert len(told) == 5
    assert [line["id"] for line in log if line["event"] == "alarm_dropped"] == told[:2]
    assert [one["id"] for one in saved(tmp_path)["pending"]] == told[2:]


async def test_a_state_that_cannot_be_written_is_an_unavailable_sink(tmp_path: Path) -> None:
    """Nothing is told, and when it can be written again nothing is counted twice or forgotten."""
    with capture_logs() as log:
        async with opened(tmp_path) as (sink, _begin):
            (tmp_path / "alerts").rename(tmp_path / "away")
            await sink.write(failing(1))
            with pytest.raises(SinkUnavailable, match="cannot be written: No such file"):
                await sink.flush()
            assert not [line for line in log if line["event"] == "alarm"]
            (tmp_path / "away").rename(tmp_path / "alerts")
            await sink.flush()
    assert len([line for line in log if line["event"] == "alarm"]) == 1
    assert saved(tmp_path)["counting"]["offsets"] == {"0": 2}


async def test_late_records_are_told(tmp_path: Path) -> None:
    with capture_logs() as log:
        async with opened(tmp_path) as (sink, _begin):
            await sink.write(timed([1001, 1050, 1002, 1003]))
            await sink.flush()
    assert [line["late"] for line in log if line["event"] == "alert_records_left_out"] == [2]


async def test_what_happens_is_measured(tmp_path: Path, receiver: Receiver) -> None:
    registry = CollectorRegistry()
    receiver.answers = [400]
    sink = AlertsSink(settings(tmp_path), RULES, receiver.url)
    assert isinstance(sink, Measured)
    sink.measure(Metrics(registry, "alerts", "nginx_logs"))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"nginx_pipeline_consumer_{name}", {"consumergroup": "alerts", **labels})

    await sink.open()
    await sink.resume("nginx_logs", [0])
    await sink.write(failing(3))
    await sink.write(timed([1000, 1001], first=4))
    await sink.flush()
    assert value("alarms_total", rule="server_errors") == 3
    assert value("alert_records_left_out_total", reason="late") == 2
    await until(lambda: value("alarms_pending") == 0)
    assert value("alarms_settled_total", outcome="refused") == 1
    assert value("alarms_settled_total", outcome="delivered") == 2
    await sink.close()


async def test_a_second_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "LOCK_WAIT_S", 0.1)
    async with opened(tmp_path):
        with pytest.raises(FatalError, match=r"another process uses ALERTS_DIR=.*scale this service to 1"):
            await AlertsSink(settings(tmp_path), RULES, None).open()
    async with opened(tmp_path):
        """The lock went with its holder."""


async def test_a_replica_that_is_being_replaced_is_waited_for(tmp_path: Path) -> None:
    first = AlertsSink(settings(tmp_path), RULES, None)
    await first.open()
    second = AlertsSink(settings(tmp_path), RULES, None)
    opening = asyncio.create_task(second.open())
    await asyncio.sleep(0)
    assert not opening.done()
    await first.close()
    await opening
    await second.close()


async def test_the_state_of_another_group_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sink, _begin):
        await sink.flush()
    other = AlertsSink(settings(tmp_path).model_copy(update={"service_name": "other"}), RULES, None)
    with pytest.raises(
        FatalError, match=r"state of 'alerts/nginx_logs'.* not of 'other/nginx_logs'.*folder of its own"
    ):
        await other.open()
    await other.close()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}', b"\x00" * 100])
async def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "state.json").write_bytes(content)
    sink = AlertsSink(settings(tmp_path), RULES, None)
    with pytest.raises(FatalError, match=r"is no state of this service\. Move it away"):
        await sink.open()
    await sink.close()


async def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "state.json.0a0a.tmp").write_bytes(b"{")
    async with opened(tmp_path) as (sink, _begin):
        await sink.flush()
    assert sorted(path.name for path in (tmp_path / "alerts").iterdir()) == ["lock", "state.json"]


async def test_a_topic_that_was_made_anew_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sink, _begin):
        await sink.write(timed([1001] * 10))
        await sink.flush()
    async with opened(tmp_path) as (sink, _begin):
        with pytest.raises(FatalError, match=r"ends before 5: the topic was made anew\. Move the state file away"):
            await sink.write(replace(timed([1001] * 5), end_offset=5))


async def test_windows_of_another_length_are_not_gone_on_with(tmp_path: Path) -> None:
    """The offsets are, and so is what waits for the webhook."""
    async with opened(tmp_path, "http://127.0.0.1:1/") as (sink, _begin):
        await sink.write(failing(1))
        await sink.flush()
    with capture_logs() as log:
        async with opened(tmp_path, "http://127.0.0.1:1/", RULES.model_copy(update={"window_s": 30})) as (sink, begin):
            await sink.flush()
    assert begin == {0: 2}
    assert [line["before_s"] for line in log if line["event"] == "alert_windows_discarded"] == [10]
    assert saved(tmp_path)["counting"]["windows"] == {}
    assert len(saved(tmp_path)["pending"]) == 1


async def test_what_goes_wrong_beside_the_records_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "TICK_S", 0.001)
    async with opened(tmp_path) as (sink, _begin):
        await sink.write(timed([1001]))
        shutil.rmtree(tmp_path / "alerts")
        monkeypatch.setattr(sink._engine, "advance", None)
        await until(lambda: any(task.done() for task in sink._tasks))
        with pytest.raises(TypeError):
            await sink.write(timed([1002], first=1))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (204, Verdict.DELIVERED),
        (301, Verdict.AWAY),
        (400, Verdict.REFUSED),
        (401, Verdict.AWAY),
        (408, Verdict.AWAY),
        (422, Verdict.REFUSED),
        (429, Verdict.AWAY),
        (500, Verdict.AWAY),
    ],
)
def test_what_an_answer_means(status: int, verdict: Verdict) -> None:
    assert verdict_of(status) is verdict


def test_the_address_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"https://hooks.example/{SECRET}\n")
    assert (
        webhook_url(settings(tmp_path, alerts_webhook_url_file=tmp_path / "url")) == f"https://hooks.example/{SECRET}"
    )


@pytest.mark.parametrize("url", [f"ftp://host/{SECRET}", SECRET, f"http://host:{SECRET}/", f"http:///{SECRET}"])
def test_what_is_no_address_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    (tmp_path / "url").write_text(url)
    for given in ({"alerts_webhook_url": SecretStr(url)}, {"alerts_webhook_url_file": tmp_path / "url"}):
        with pytest.raises(InvalidSettings, match=r"ALERTS_WEBHOOK_URL.* holds no address") as raised:
            webhook_url(settings(tmp_path, **given))
        assert SECRET not in str(raised.value)
    with pytest.raises(ValidationError, match="both set"):
        settings(tmp_path, alerts_webhook_url=SecretStr(url), alerts_webhook_url_file=tmp_path / "url")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"ALERTS_WEBHOOK_URL_FILE=.*none cannot be read: No such file"):
        webhook_url(settings(tmp_path, alerts_webhook_url_file=tmp_path / "none"))
    with pytest.raises(InvalidSettings, match=r"ALERTS_FILE=.*none cannot be read: No such file"):
        AlertsSink.from_settings(settings(tmp_path, alerts_file=tmp_path / "none"))
