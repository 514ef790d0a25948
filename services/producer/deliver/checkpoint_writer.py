"""The one writer of the checkpoint: takes it from progress and outbox in one step, and brings it to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.outbox import Outbox
from services.producer.deliver.progress import Progress
from shared.runtime.logging import get_logger


class CheckpointWriter:
    """`start` is what this run goes on from, with its own patterns. `on_save` hears whether a save succeeded."""

    def __init__(
        self,
        store: CheckpointStore,
        start: Checkpoint,
        progress: Progress,
        outbox: Outbox,
        on_save: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._newest = start
        self._progress = progress
        self._outbox = outbox
        self._on_save = on_save
        self._counts = False
        self._saved_changes = -1
        self._is_failing = False
        self._is_given_up = False
        # One thread: a save that was given up while it waited for the disk ends before the next one begins.
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def take(self) -> Checkpoint:
        """What is confirmed now, and where to look for what may be delivered besides.

        Before the first session nothing is known that the last checkpoint did not know, so it is no later one.
        """
        self._newest = replace(
            self._newest,
            sequence=self._newest.sequence + self._counts,
            files=tuple(self._progress.snapshot()),
            tails=self._outbox.tails,
        )
        return self._newest

    def count_on_from(self, found: Checkpoint) -> None:
        """A session has begun and found this one: what is taken from now on is later."""
        self._newest = replace(self._newest, sequence=max(self._newest.sequence, found.sequence))
        self._counts = True

    async def save(self) -> None:
        """Write what is confirmed, if that changed. A failure loses nothing: a restart has more to look for."""
        changes = self._progress.changes
        if changes == self._saved_changes or self._is_given_up:
            return
        if await self._write(self.take()):
            self._saved_changes = changes

    async def save_forever(self, interval_s: float) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.save()

    async def give_up_for(self, found: Checkpoint) -> None:
        """More is known elsewhere than this run believed: the next one begins with that; nothing is saved over it."""
        self._is_given_up = True
        await self._write(found)

    def close(self) -> None:
        """A save that waits for the disk is not waited for."""
        self._disk.shutdown(wait=False)

    async def _write(self, checkpoint: Checkpoint) -> bool:
        """Whether it is on disk. Told once when that begins to fail, and when it is over."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._store.save, checkpoint)
        except OSError as error:
            self._on_save(False)
            if not self._is_failing:
                # A full disk is noticed in a write, and that names no file.
                path = error.filename or str(self._store.path)
                get_logger().error("checkpoint_failed", error=error.strerror, path=path)
            self._is_failing = True
            return False
        if self._is_failing:
            get_logger().info("checkpoint_recovered")
        self._is_failing = False
        self._on_save(True)
        return True
