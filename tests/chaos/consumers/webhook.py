"""A webhook as a process: `python -m tests.chaos.consumers.webhook PORT FOLDER`. It keeps what it is told, in a file.

The file `mode` in the folder says how it answers from now on: `works`, `slow` (works, after a while), `fails` (500) or
`hangs` (never). What it takes is in `told` before the answer goes out; `turned_away` counts the rest.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOPBACK = "127.0.0.1"
SLOW_S = 0.3
HANG_S = 600.0


class Answering(BaseHTTPRequestHandler):
    """One POST."""

    folder: Path
    writing = threading.Lock()

    def do_POST(self) -> None:  # the name that http.server calls
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mode = (self.folder / "mode").read_text()
        if mode in ("fails", "hangs"):
            self._note("turned_away", {"mode": mode})
            time.sleep(HANG_S if mode == "hangs" else 0)
            self._answer(500)
            return
        self._note("told", {"key": self.headers["Idempotency-Key"], "body": json.loads(body)})
        time.sleep(SLOW_S if mode == "slow" else 0)
        self._answer(204)

    def _note(self, name: str, what: object) -> None:
        with self.writing, (self.folder / name).open("ab") as file:
            file.write(json.dumps(what).encode() + b"\n")

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing on stderr."""


def main(port: int, folder: Path) -> None:
    Answering.folder = folder
    server = ThreadingHTTPServer((LOOPBACK, port), Answering)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
