"""The HTTP endpoints of local replicas; their health is asked of all at once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_S = 2.0
READY = "ready"


def health_of(ports: Mapping[str, int], path: str = "/readyz") -> dict[str, str]:
    """`ready`, or what the replica says instead, by the names of `ports`."""
    if not ports:
        return {}
    with ThreadPoolExecutor(min(16, len(ports))) as pool:
        return dict(zip(ports, pool.map(lambda port: _ask(port, path), ports.values()), strict=True))


def _ask(port: int, path: str) -> str:
    try:
        status, text = fetch(port, path, 200)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer yet ({getattr(error, 'strerror', None) or error})"
    return READY if status == http.HTTPStatus.OK else f"not ready: {_reason(text.strip()) or status}"


def fetch(port: int, path: str, max_bytes: int) -> tuple[int, str]:
    """Status and text of one answer. Raises OSError and HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(max_bytes).decode(errors="replace")
    finally:
        connection.close()


def _reason(text: str) -> str:
    """What a service gives as the reason, or all that it says where that is of another form."""
    try:
        return str(json.loads(text)["because"])
    except (ValueError, KeyError, TypeError):
        return text
