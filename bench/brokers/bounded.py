"""Work of a client that is given up after a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

TOPOLOGY_TIMEOUT_S = 60.0
PUBLISH_TIMEOUT_S = 120.0
FILL_TIMEOUT_S = 300.0


def run_bounded(work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
    """In an event loop of its own. Raises TimeoutError."""

    async def bounded() -> Result:
        async with asyncio.timeout(timeout_s):
            return await work

    return asyncio.run(bounded())
