"""What the peers have in common: they wait for the log as our producer does, and read it in the same chunks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, LogFormat

CHUNK_BYTES = 256 * 1024
BATCH_BYTES = 256 * 1024
LINGER_MS = 5
POLL_INTERVAL_S = 0.001
SELECT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a peer is told, through the environment variables of our producer."""

    bootstrap_servers: str
    topic: str
    log: Path
    http_port: int

    @classmethod
    def from_environment(cls) -> Job:
        """Also holds SIGTERM back until `wait_for_end`, in every thread that is started from now on."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        return cls(
            os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            os.environ["KAFKA_TOPIC"],
            Path(os.environ["LOG_FILES"]),
            int(os.environ["HTTP_PORT"]),
        )

    def announce_ready(self) -> None:
        """From now on the work may come."""
        answer_ready(self.http_port)

    def chunks(self) -> Iterator[Chunk]:
        """Wait for the log, then its chunks of whole lines."""
        while not self.log.exists():
            time.sleep(POLL_INTERVAL_S)
        identity = FileIdentity(str(self.log), 0, 0, "peer", 0, "")
        position = 0
        with self.log.open("rb") as file:
            while data := os.pread(file.fileno(), CHUNK_BYTES, position):
                whole = data[: data.rfind(b"\n") + 1]
                yield Chunk(identity, position, position + len(whole), whole)
                position += len(whole)

    def parser(self) -> ChunkParser:
        """The parser of our producer."""
        return ChunkParser(LogFormat.AUTO, "web-1")


def wait_for_end() -> None:
    """Until SIGTERM, so that the memory of the process can be looked at when the work is done."""
    signal.sigwait({signal.SIGTERM})


def answer_ready(http_port: int) -> None:
    """From now on every request to the port is answered with 200, by a thread that sleeps otherwise."""
    server = HTTPServer(("127.0.0.1", http_port), _Ready)
    Thread(target=server.serve_forever, args=(SELECT_TIMEOUT_S,), daemon=True).start()


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: stderr is for errors."""
