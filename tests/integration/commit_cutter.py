"""A TCP proxy before PostgreSQL that cuts connections in the middle of a COMMIT. Bytes pass unchanged else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from compose.local.ports import LOOPBACK

CHUNK_BYTES = 65_536
START_TIMEOUT_S = 10.0
# A simple query, as the sink sends it: type, length, text.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Cut(Enum):
    """Where: the server never gets the COMMIT, or its answer never comes."""

    BEFORE = auto()
    AFTER = auto()


class CommitCutter:
    """Cuts the next COMMITs as `cuts` says, one after the other; `done` are those that were."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self.cuts: list[Cut] = []
        self.done: list[Cut] = []
        self.port = 0

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._on_connection, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        """Nothing is left for the collector: what it ends in the middle of something else disturbs that."""
        self._server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=START_TIMEOUT_S)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(_pass_on(server_reader, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                if data.endswith(COMMIT) and self.cuts:
                    await self._cut(self.cuts.pop(0), data, server_writer, answers)
                    return
                server_writer.write(data)
                await server_writer.drain()
        except OSError:
            return
        finally:
            answers.cancel()
            writer.close()
            server_writer.close()

    async def _cut(
        self, cut: Cut, data: bytes, server_writer: asyncio.StreamWriter, answers: asyncio.Task[None]
    ) -> None:
        if cut is Cut.AFTER:
            answers.cancel()
            server_writer.write(data)
            await server_writer.drain()
        self.done.append(cut)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


@contextmanager
def cutting_commits(target_port: int) -> Iterator[CommitCutter]:
    """Listening on `port` for as long as the context is open."""
    cutter = CommitCutter(target_port)
    thread = threading.Thread(target=cutter._loop.run_forever, daemon=True, name="commit-cutter")
    thread.start()
    asyncio.run_coroutine_threadsafe(cutter._serve(), cutter._loop).result(START_TIMEOUT_S)
    try:
        yield cutter
    finally:
        asyncio.run_coroutine_threadsafe(cutter._stop(), cutter._loop).result(START_TIMEOUT_S)
        cutter._loop.call_soon_threadsafe(cutter._loop.stop)
        thread.join(START_TIMEOUT_S)
        cutter._loop.close()
