"""Runs one function in a child process beside the event loop, with the time that a second core has.

The child is a fork: it has the parent's open files and, what matters here, the secret of its hashes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.errors import FatalError
from shared.tools.progress import Progress

Result = TypeVar("Result")
POLL_INTERVAL_S = 0.1


class Beside(Generic[Result]):
    """Starts `work` at once; it gets a function to tell how much more it has done. Make it before any connection."""

    def __init__(self, work: Callable[[Callable[[int], None]], Result]) -> None:
        context = multiprocessing.get_context("fork")
        self._answer, self._question = context.Pipe(duplex=False)
        self._done = context.RawValue("q", 0)  # one writer, and a count that may be a moment old
        self._work = work
        self._process = context.Process(target=self._run, daemon=True)
        self._process.start()
        self._question.close()

    def _run(self) -> None:
        def add(count: int) -> None:
            self._done.value += count

        try:
            self._question.send(self._work(add))
        except OSError as error:
            self._question.send(error)

    async def result(self, progress: Progress) -> Result:
        """Wait for it. Raises the OSError that it raised, or FatalError when the child died."""
        while not self._answer.poll():
            progress.add(self._done.value - progress.done)
            await asyncio.sleep(POLL_INTERVAL_S)
        try:
            found = self._answer.recv()
        except EOFError as error:
            raise FatalError("the process that read the files ended early; is there enough memory?") from error
        progress.finish()
        if isinstance(found, OSError):
            raise FatalError(f"a file cannot be read: {found}") from found
        result: Result = found
        return result

    def close(self) -> None:
        """End the child if it still runs."""
        self._process.kill()
        self._process.join()
        self._answer.close()
