"""Sends the demo's traffic to a real site, steadily, whether or not the site is there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from services.demo.pace import Pace
from services.demo.traffic import OddVisit, Visit
from shared.runtime.http import Health
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import Logger

REQUEST_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 65_536
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where the visits go."""

    base: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Site:
        """Raises ValueError for anything but http://HOST[:PORT]."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"--url {url}: expected http://HOST or http://HOST:PORT")
        return cls(f"http://{parts.netloc}", parts.hostname, parts.port or 80)


class Visitor:
    """Goes through the traffic at its pace; while the site is away it waits longer and longer, up to a bound."""

    def __init__(self, site: Site, traffic: Iterator[Visit | OddVisit], health: Health, log: Logger) -> None:
        self._site = site
        self._traffic = traffic
        self._health = health
        self._log = log
        self._reachable: bool | None = None
        self.answers: Counter[str] = Counter()
        """Answers so far by what came back: a status, or `odd` for what no status was asked of."""

    async def run(self, rate_per_s: float, shutdown: Shutdown, clock: Callable[[], float] = time.monotonic) -> None:
        """Visit until a shutdown is requested."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        pace = Pace(rate_per_s, clock())
        pause_s = FIRST_PAUSE_S
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            while not shutdown.requested:
                self._health.progressed()
                if not pace.take_due(clock(), at_most=1):
                    await shutdown.wait_at_most(pace.wait_s(clock()))
                elif await self._visit(session, next(self._traffic)):
                    pause_s = FIRST_PAUSE_S
                else:
                    await shutdown.wait_at_most(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _visit(self, session: aiohttp.ClientSession, visit: Visit | OddVisit) -> bool:
        """Make one request; whether the site was there to take it."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                if isinstance(visit, Visit) and visit.target.isascii():
                    answer = await self._ask(session, visit)
                else:
                    answer = await self._send(visit)
        except (aiohttp.ClientConnectionError, OSError, TimeoutError) as error:
            self._note_reachable(False, error)
            return False
        except aiohttp.ClientError as error:
            # The site is there and said something that is no HTTP.
            answer = type(error).__name__
        self.answers[answer] += 1
        self._note_reachable(True)
        return True

    async def _ask(self, session: aiohttp.ClientSession, visit: Visit) -> str:
        url = URL(self._site.base + visit.target.decode("ascii"), encoded=True)
        headers = _headers_of(visit)
        skip = {"Accept-Encoding"} if "User-Agent" in headers else {"Accept-Encoding", "User-Agent"}
        async with session.request(
            visit.method, url, headers=headers, skip_auto_headers=skip, allow_redirects=False
        ) as answer:
            await answer.read()
            return str(answer.status)

    async def _send(self, visit: Visit | OddVisit) -> str:
        """Write bytes that no HTTP client would; the answer matters to nobody but has to be waited for."""
        reader, writer = await asyncio.open_connection(self._site.host, self._site.port)
        try:
            writer.write(_bytes_of(visit, self._site))
            await writer.drain()
            if isinstance(visit, Visit) or visit.sent:
                await reader.read(MAX_ANSWER_BYTES)
        finally:
            writer.close()
        return "odd"

    def _note_reachable(self, reachable: bool, error: Exception | None = None) -> None:
        """Log a change, and only that."""
        if reachable == self._reachable:
            return
        self._reachable = reachable
        if reachable:
            self._health.not_ready_because = None
            self._log.info("site_reachable", url=self._site.base)
        else:
            self._health.not_ready_because = f"no answer from {self._site.base}"
            self._log.warning("site_unreachable", url=self._site.base, error=str(error) or type(error).__name__)


def _headers_of(visit: Visit) -> dict[str, str]:
    """The demo site takes the client's address from X-Real-IP."""
    headers = {"X-Real-IP": visit.client_address}
    if visit.referrer is not None:
        headers["Referer"] = visit.referrer
    if visit.user_agent is not None:
        headers["User-Agent"] = visit.user_agent
    if visit.forwarded_for is not None:
        headers["X-Forwarded-For"] = visit.forwarded_for
    if visit.status == 304:
        headers["If-None-Match"] = '"demo"'
    return headers


def _bytes_of(visit: Visit | OddVisit, site: Site) -> bytes:
    if isinstance(visit, OddVisit):
        return visit.sent
    headers = {"Host": site.host, "Connection": "close", **_headers_of(visit)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return visit.request_line + b"\r\n" + head.encode() + b"\r\n"
