"""Health and metrics over HTTP: /livez, /readyz, /metrics, and /status for a service that has more to tell.

/livez answers while the event loop turns and the service's work goes on; it never asks the broker, because restarting
this process mends no broker. /readyz answers 200 once the service does its work, with the reason while it does not.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from shared.errors import FatalError, InvalidRequest
from shared.runtime.logging import get_logger
from shared.runtime.settings import ServiceSettings

Describe = Callable[[Mapping[str, str]], object]
"""From the query of a request to a document for JSON. Raises InvalidRequest. Nothing secret may be in it."""


class Health:
    """What a service says of itself; written by its pipeline, read by the endpoints."""

    def __init__(self, now: Callable[[], float], stalled_after_s: float) -> None:
        self._now = now
        self._stalled_after_s = stalled_after_s
        self._progressed_at = now()
        self.not_ready_because: str | None = "starting"

    def progressed(self) -> None:
        """The main loop came round: work was done, or there was none."""
        self._progressed_at = self._now()

    @property
    def ready(self) -> bool:
        return self.not_ready_because is None

    @property
    def stalled_for_s(self) -> float:
        """Seconds without a turn of the main loop; 0 while that is within bounds."""
        idle_s = self._now() - self._progressed_at
        return idle_s if idle_s > self._stalled_after_s else 0.0


@asynccontextmanager
async def serve_http(
    settings: ServiceSettings, health: Health, registry: CollectorRegistry, describe: Describe | None = None
) -> AsyncIterator[int]:
    """Serve the endpoints while the context is open; yields the port. Raises FatalError when it cannot listen.

    With `describe` there is also /status, which answers 200 with the document, or 400 for a query that is wrong.
    """

    async def livez(_request: web.Request) -> web.Response:
        stalled_for_s = health.stalled_for_s
        body = {"alive": not stalled_for_s, "stalled_for_s": round(stalled_for_s, 1)}
        return web.json_response(body, status=503 if stalled_for_s else 200)

    async def readyz(_request: web.Request) -> web.Response:
        body = {"ready": health.ready, "because": health.not_ready_because}
        return web.json_response(body, status=200 if health.ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(request: web.Request) -> web.Response:
        assert describe is not None, "the route is there only with it"
        try:
            return web.json_response(describe(request.query))
        except InvalidRequest as error:
            return web.json_response({"error": str(error)}, status=400)

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    if describe is not None:
        app.router.add_get("/status", status)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        port = await _listen(runner, settings.http_host, settings.http_port)
        get_logger().info("http_listening", host=settings.http_host, port=port)
        yield port
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        mend = (
            "Set HTTP_PORT to a free port."
            if error.errno in (errno.EADDRINUSE, errno.EACCES)
            else "Set HTTP_HOST to an address of this machine, such as 127.0.0.1, or to 0.0.0.0 for all of them."
        )
        raise FatalError(f"cannot listen on HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}. {mend}") from error
    address: tuple[str, int] = runner.addresses[0]
    return address[1]


async def every(interval_s: float, action: Callable[[], None]) -> None:
    """Call `action` each `interval_s` seconds until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        action()
