"""The visitor against a small site of the test's own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from services.demo.traffic import OddKind, OddVisit, Visit
from services.demo.visit import Site, Visitor
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import get_logger

DEADLINE_S = 10.0
PLAIN = Visit("192.0.2.1", "GET", b"/a%C3%BC?b=%20c", 200, 2, "http://demo.example/", "agent/1", "10.0.0.2")
RAW = Visit("192.0.2.2", "GET", b"/stra\xdfe", 200, 2, None, None, None)
NOTHING = OddVisit("192.0.2.3", OddKind.NOTHING, b"", b"", 400)
NO_PROTOCOL = OddVisit("192.0.2.3", OddKind.NO_PROTOCOL, b"GET /old-client\r\n", b"GET /old-client", 404)


class RecordingSite:
    """Takes whatever comes over a connection and answers each with 200."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read(65_536)
        self.received.append(received)
        if received:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_requests_reach_the_site_byte_for_byte() -> None:
    """Percent-encoding is not normalised, raw bytes stay raw, and a connection without a request is one."""
    site, shutdown = RecordingSite(), Shutdown()
    port = free_port()
    visits: list[Visit | OddVisit] = [PLAIN, RAW, NOTHING, NO_PROTOCOL]
    visitor = Visitor(
        Site.parse(f"http://127.0.0.1:{port}"), iter(visits * 1_000), Health(time.monotonic, 30.0), get_logger()
    )
    async with await asyncio.start_server(site.handle, "127.0.0.1", port):
        running = asyncio.create_task(visitor.run(500.0, shutdown))
        await until(lambda: len(site.received) >= 4)
        shutdown.request()
        await asyncio.wait_for(running, DEADLINE_S)
    plain, raw, nothing, no_protocol = site.received[:4]
    assert plain.startswith(b"GET /a%C3%BC?b=%20c HTTP/1.1\r\n")
    assert b"X-Real-IP: 192.0.2.1\r\n" in plain
    assert b"X-Forwarded-For: 10.0.0.2\r\n" in plain
    assert raw.startswith(b"GET /stra\xdfe HTTP/1.1\r\n")
    assert b"User-Agent" not in raw
    assert nothing == b""
    assert no_protocol == b"GET /old-client\r\n"
    assert visitor.answers["200"] >= 1
    assert visitor.answers["odd"] >= 3


async def test_an_absent_site_is_waited_for_and_said_once() -> None:
    """One line when it is away, one when it comes, and readiness follows."""
    site, shutdown, health = RecordingSite(), Shutdown(), Health(time.monotonic, 30.0)
    port = free_port()
    with capture_logs() as log:
        visitor = Visitor(Site.parse(f"http://127.0.0.1:{port}"), iter([PLAIN] * 1_000), health, get_logger())
        running = asyncio.create_task(visitor.run(500.0, shutdown))
        await until(lambda: health.not_ready_because == f"no answer from http://127.0.0.1:{port}")
        async with await asyncio.start_server(site.handle, "127.0.0.1", port):
            await until(lambda: health.ready and len(site.received) >= 3)
            shutdown.request()
            await asyncio.wait_for(running, DEADLINE_S)
    assert [entry["event"] for entry in log] == ["site_unreachable", "site_reachable"]


@pytest.mark.parametrize("url", ["nginx:8080", "https://nginx", "http://nginx/path", "http://", "http://nginx/?q"])
def test_a_url_that_is_no_site_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://HOST"):
        Site.parse(url)
