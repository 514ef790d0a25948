"""SINK=alerts on a real broker, with a real webhook, and a process that dies, is stopped and comes back."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.schemas import AccessRecord, Source
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    Replica,
    Replicas,
    assignments,
    committed,
    publish,
    running,
    until,
)

RULES = """
window_s = 5
lateness_s = 5
idle_s = 3600
[server_errors]
share = 0.3
min_requests = 10
[scan]
paths = 5
[traffic_drop]
windows = 2
min_requests = 20
[new_top_client]
share = 0.3
min_requests = 10
windows = 3
"""
BEGIN_S = 1_700_000_000
RECORDS_A_SECOND = 20
CHUNK = 40
PACE_S = 0.2


class Webhook:
    """A server in a thread that keeps what it gets, by path; it listens, fails or hangs as it is told."""

    def __init__(self) -> None:
        self.bodies: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.failed = 0
        self.mode = "fails"
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_post("/{path}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    def listen(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def close(self) -> None:
        """From now on connections are refused."""
        runner, self._runner = self._runner, None
        if runner is not None:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self._loop).result(10)

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert request.headers["Idempotency-Key"] == body["id"]
        if self.mode != "works":
            self.failed += 1
            await asyncio.sleep(60 if self.mode == "hangs" else 0)
            return web.Response(status=500)
        self.bodies[request.match_info["path"]].append(body)
        return web.Response(status=204)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    made.start()
    yield made
    made.end()


def line(number: int, time_s: float) -> bytes:
    """Some windows fail, some clients scan, new clients come first in turns."""
    window = int(time_s) // 5
    failing = window % 3 == 0 and number % 2 == 0
    scanning = number % 5 == 0 and window % 2 == 0
    return AccessRecord(
        schema_version=1,
        time=datetime.fromtimestamp(time_s, UTC),
        client_address=f"scanner-{window % 7}" if scanning else f"client-{window // 4 if number % 3 else number % 11}",
        remote_user=None,
        method="GET",
        path=f"/{number}",
        query=None,
        protocol="HTTP/1.1",
        request=None,
        status=404 if scanning else 503 if failing else 200,
        body_bytes=1,
        referrer=None,
        user_agent=None,
        forwarded_for=None,
        escaped_fields=(),
        source=Source(host="web-1", file="/access.log", generation="g", offset=number, length=80),
    ).to_json()


@contextmanager
def flowing(broker: str, topics: Topics) -> Iterator[list[int]]:
    """Lines go to all partitions until the context ends; then those that close every window. Yields what is out."""
    over = topics.partition_count
    out = [0]
    stop = threading.Event()

    def flow() -> None:
        while not stop.wait(PACE_S):
            numbers = range(out[0], out[0] + CHUNK)
            publish(broker, topics.records, [line(n, BEGIN_S + n / RECORDS_A_SECOND) for n in numbers], over=over)
            out[0] += CHUNK

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield out
    finally:
        stop.set()
        thread.join(60)
    end_s = BEGIN_S + out[0] / RECORDS_A_SECOND + 1000
    publish(broker, topics.records, [line(out[0] + n, end_s) for n in range(over)], over=over)
    out[0] += over


def state_of(directory: Path) -> dict[str, Any]:
    path = directory / "state.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def counted(directory: Path) -> int:
    offsets: Mapping[str, int] = state_of(directory).get("counting", {}).get("offsets", {})
    return sum(offsets.values())


def until_all_is_told(directory: Path, count: int) -> None:
    """So many records are counted, which closes every window but the last, and no alarm waits."""
    until(lambda: counted(directory) == count, f"{directory.name} counts all")
    until(lambda: state_of(directory)["pending"] == [], f"{directory.name} delivers all")


def start(replicas: Replicas, service: str, directory: Path, webhook: Webhook, rules: str = RULES) -> Replica:
    (directory / "rules.toml").write_text(rules)
    return replicas.start(
        service,
        {
            "SINK": "alerts",
            "ALERTS_DIR": str(directory / service),
            "ALERTS_FILE": str(directory / "rules.toml"),
            "ALERTS_WEBHOOK_URL": f"http://127.0.0.1:{webhook.port}/{service}",
        },
    )


def content(bodies: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """What the alarms say, without what depends on the group."""
    by_id = {body["id"]: body for body in bodies}
    said = ("rule", "client", "window_start", "message")
    return sorted((*(str(body[name]) for name in said), str(body["values"])) for body in by_id.values())


@pytest.mark.parametrize("topics", [4], indirect=True)
def test_alarms_of_a_process_that_dies_are_those_of_one_that_does_not(
    broker: str, topics: Topics, tmp_path: Path, webhook: Webhook
) -> None:
    """Killed five times and stopped once while lines flow and the webhook refuses, fails, hangs and works."""
    directory = tmp_path / "shaken"
    dice = random.Random()
    with running(broker, topics, tmp_path) as replicas:
        with flowing(broker, topics) as out:
            for mode in ("refuses", "fails", "hangs", "works", "works"):
                webhook.close()
                webhook.mode = mode
                if mode != "refuses":
                    webhook.listen()
                before = counted(directory)
                replica = start(replicas, "shaken", tmp_path, webhook)
                until(lambda before=before: counted(directory) > before, "it goes on")  # type: ignore[misc]
                time.sleep(dice.uniform(0, 1.5))  # a random moment
                replica.kill()
            replica = start(replicas, "shaken", tmp_path, webhook)
            before = counted(directory)
            until(lambda: counted(directory) > before, "it goes on")
            replica.process.send_signal(signal.SIGSTOP)
            until(lambda: not assignments(broker, "shaken"), "the group gives its partitions up")
            replica.process.send_signal(signal.SIGCONT)
        calm = start(replicas, "calm", tmp_path, webhook)
        for service in ("shaken", "calm"):
            until_all_is_told(tmp_path / service, out[0])
            until(lambda one=service: sum(committed(broker, one, topics.records).values()) == out[0], "committed")  # type: ignore[misc]
        assert replica.terminate() == calm.terminate() == 0
    assert webhook.failed > 1
    shaken = content(webhook.bodies["shaken"])
    assert shaken == content(webhook.bodies["calm"])
    assert {one[0] for one in shaken} == {"server_errors", "scan", "traffic_drop", "new_top_client"}
    assert len(webhook.bodies["calm"]) == len(shaken), "an undisturbed run delivers each once"
    names = {(body["rule"], body["client"], body["window_start"]) for body in webhook.bodies["shaken"]}
    assert len(names) == len({body["id"] for body in webhook.bodies["shaken"]}), "one id for each alarm"


LIVE_RULES = """
window_s = 1
lateness_s = 1
idle_s = 2
[traffic_drop]
windows = 3
min_requests = 5
[server_errors]
enabled = false
[scan]
enabled = false
[new_top_client]
enabled = false
"""


@pytest.mark.parametrize("topics", [2], indirect=True)
def test_traffic_that_stops_is_an_alarm_and_a_second_replica_is_refused(
    broker: str, topics: Topics, tmp_path: Path, webhook: Webhook
) -> None:
    """One of the partitions has never had a record."""
    webhook.mode = "works"
    with running(broker, topics, tmp_path) as replicas:
        replica = start(replicas, "live", tmp_path, webhook, LIVE_RULES)
        until(lambda: replica.ready, "it has joined")
        now_s = int(time.time())
        values = [line(number, now_s - 5 + number / 10) for number in range(50)]
        publish(broker, topics.records, values, partition=0)
        second = start(replicas, "live", tmp_path, webhook, LIVE_RULES)
        until(lambda: bool(webhook.bodies["live"]), "the drop is told")
        [alarm] = webhook.bodies["live"]
        assert alarm["rule"] == "traffic_drop"
        assert alarm["values"] == {"requests": 0, "mean_requests": 10.0}
        assert [one["id"] for one in replica.events("alarm")] == [alarm["id"]]
        assert second.process.wait(60) == 1
        assert "SINK=alerts counts over all partitions" in second.events("service_failed")[0]["error"]
        assert replica.owns == frozenset({0, 1})
        assert not replica.events("alert_records_left_out")
        port = replica.events("http_listening")[-1]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b'alarms_total{consumergroup="live",rule="traffic_drop"} 1.0' in answer.read()
        assert replica.terminate() == 0
