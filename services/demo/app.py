"""Puts a demo together: traffic, the one of the two ways it goes, health and a line of progress."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.demo.traffic import make_traffic
from services.demo.visit import REQUEST_TIMEOUT_S, Site, Visitor
from services.demo.write import Writer
from shared.runtime.http import Health, every, serve_http
from shared.runtime.lifecycle import Shutdown
from shared.runtime.logging import get_logger
from shared.runtime.settings import ServiceSettings

STALLED_AFTER_S = 6 * REQUEST_TIMEOUT_S


async def serve_visits(arguments: Namespace, settings: ServiceSettings, shutdown: Shutdown) -> None:
    """Visit `arguments.url` until a shutdown is requested."""
    health = Health(time.monotonic, STALLED_AFTER_S)
    site: Site = arguments.url
    visitor = Visitor(site, make_traffic(arguments.seed), health, get_logger())

    def report() -> None:
        get_logger().info("demo_progress", answers=dict(sorted(visitor.answers.items())))

    async with serve_http(settings, health, CollectorRegistry()), _reporting(settings, report):
        await visitor.run(arguments.rate, shutdown)


async def serve_lines(arguments: Namespace, settings: ServiceSettings, shutdown: Shutdown) -> None:
    """Write to `arguments.file` until a shutdown is requested. Raises FatalError when it cannot be written."""
    health = Health(time.monotonic, STALLED_AFTER_S)
    path: Path = arguments.file
    writer = Writer(path, arguments.limit_bytes, make_traffic(arguments.seed), health)

    def report() -> None:
        get_logger().info("demo_progress", lines=writer.lines_written)

    async with serve_http(settings, health, CollectorRegistry()), _reporting(settings, report):
        await writer.run(arguments.rate, shutdown)


@asynccontextmanager
async def _reporting(settings: ServiceSettings, report: Callable[[], None]) -> AsyncIterator[None]:
    """Call `report` at its interval while the context is open, and once at the end."""
    task = asyncio.create_task(every(settings.report_interval_s, report))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        report()
