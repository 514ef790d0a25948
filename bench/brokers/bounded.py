"""Work of a client that is given up after a time, or when this program is to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

TOPOLOGY_TIMEOUT_S = 60.0
PUBLISH_TIMEOUT_S = 120.0
FILL_TIMEOUT_S = 300.0
LOOK_INTERVAL_S = 0.2

ENDING = threading.Event()
"""Set once, when this program was told to end: threads that work for it have no other way to hear of it."""


def run_bounded(work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
    """In an event loop of its own. Raises TimeoutError."""

    async def bounded() -> Result:
        async with asyncio.timeout(timeout_s):
            task = asyncio.create_task(work)
            while not task.done():
                if ENDING.is_set():
                    raise TimeoutError("this program is to end")
                await asyncio.wait([task], timeout=LOOK_INTERVAL_S)
            return task.result()

    return asyncio.run(bounded())  # which cancels what it leaves behind
