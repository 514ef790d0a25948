"""A TCP proxy in front of a real broker, for faults of the network: latency, lost answers, and a line that goes dead.

No Kafka is imitated: bytes pass, late or not at all.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

from compose.local.ports import LOOPBACK

CHUNK_BYTES = 65_536
START_TIMEOUT_S = 10.0
HOLD_CHECK_INTERVAL_S = 0.01


class Proxy:
    """Listens on a port of its own as soon as it is made; passes everything on to `target_port` while it is used."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._connections: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0  # one way
        self.loses_answers = False
        self.lost_bytes = 0
        self.holds_requests = False  # they are passed on later, even if their sender is dead by then
        self.held_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.start_server(self._on_connection, sock=self._socket)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(START_TIMEOUT_S)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(START_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()

    def heal(self) -> None:
        """Pass everything at once again. Connections that lost bytes are closed, as the system would in the end."""
        self.delay_s, self.loses_answers, self.holds_requests = 0.0, False, False
        asyncio.run_coroutine_threadsafe(self._close_connections(), self._loop).result(START_TIMEOUT_S)

    async def _close_connections(self) -> None:
        for writer in list(self._connections):
            writer.close()

    async def _stop(self) -> None:
        self._server.close()
        await self._close_connections()
        for pump in list(self._pumps):
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            writer.close()
            return
        for source, target, answers in ((reader, broker_writer, False), (broker_reader, writer, True)):
            self._connections.add(target)
            pump = asyncio.create_task(self._pump(source, target, answers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, answers: bool) -> None:
        """One direction. Bytes leave `delay_s` after they came, however many are on their way; so does the end."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1_000)
        sending = asyncio.create_task(self._send(under_way, target, answers))
        try:
            while data := await self._receive(source):
                if answers and self.loses_answers:
                    self.lost_bytes += len(data)
                    continue
                await under_way.put((self._loop.time() + self.delay_s, data))
            await under_way.put((0.0, b""))
            await sending
        finally:
            sending.cancel()
            target.close()
            self._connections.discard(target)

    async def _receive(self, source: asyncio.StreamReader) -> bytes:
        """The next bytes; none at the end, however it came."""
        try:
            return await source.read(CHUNK_BYTES)
        except OSError:
            return b""

    async def _send(
        self, under_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter, answers: bool
    ) -> None:
        """Until the end of the source, or of the target, which ends the connection as well."""
        try:
            while (item := await under_way.get())[1]:
                due, data = item
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not answers:
                    await self._hold(len(data))
                target.write(data)
                await target.drain()
        except OSError:
            target.close()

    async def _hold(self, size_bytes: int) -> None:
        """Wait while requests are held."""
        if self.holds_requests:
            self.held_bytes += size_bytes
        while self.holds_requests:
            await asyncio.sleep(HOLD_CHECK_INTERVAL_S)
