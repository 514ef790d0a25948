"""The function that HANDLER names here: appends to a file of its own process, and fails as its folder says.

`down`: the sink is away. `slow`: seconds that one batch takes. `poison`: numbers at which it fails, one a line.
Two files end with the id of the process that they are for. `hangs-`: the function never returns. `deaf-`: the client of
that process ends to fetch, as an error in it would do, and all else of it goes on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from shared.schemas import AccessRecord

FETCHING = "Fetcher._fetch_requests_routine"
FOLDER = Path(os.environ["CHAOS_SINK"])
_file = (FOLDER / f"{time.monotonic_ns()}-{os.getpid()}.taken").open("ab", buffering=0)


async def handle(records: Sequence[AccessRecord]) -> None:
    if (FOLDER / f"hangs-{os.getpid()}").exists():
        await asyncio.Event().wait()
    if (FOLDER / f"deaf-{os.getpid()}").exists():
        _end_the_fetching()
    if (FOLDER / "down").exists():
        raise ConnectionError("the sink is down")
    if (FOLDER / "slow").exists():
        await asyncio.sleep(float((FOLDER / "slow").read_text()))
    if (FOLDER / "poison").exists():
        poison = set((FOLDER / "poison").read_text().split())
        if bad := [record.path for record in records if record.path in poison]:
            raise RuntimeError(f"cannot take {bad[0]}")
    now_ns = time.monotonic_ns()
    _file.write(b"".join([b"%d %b\n" % (now_ns, (record.path or "").encode()) for record in records]))


def _end_the_fetching() -> None:
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == FETCHING:
            task.cancel()
            (FOLDER / f"deaf-{os.getpid()}").unlink()
            (FOLDER / "deafened").touch()
