"""The health endpoints of local replicas, asked all at once."""

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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(200).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer yet ({getattr(error, 'strerror', None) or error})"
    finally:
        connection.close()
    return READY if answer.status == http.HTTPStatus.OK else f"not ready: {_reason(text) or answer.status}"


def _reason(text: str) -> str:
    """What a service gives as the reason, or all that it says where that is of another form."""
    try:
        return str(json.loads(text)["because"])
    except (ValueError, KeyError, TypeError):
        return text
