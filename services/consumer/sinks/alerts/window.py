"""What is counted of the requests of one window. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from services.consumer.sinks.alerts.rules import Rules
from shared.schemas import AccessRecord

MAX_CLIENT_CHARACTERS = 64
TOP_CLIENTS = 10
# Two paths of one window share a hash once in 10**6 windows of 20,000 paths.
PATH_HASH_BYTES = 7


class Observation(NamedTuple):
    """What the rules need of a record. `missing_path` is a hash of what was asked for and answered with 404."""

    offset: int
    time_ms: int
    status: int
    client: str
    missing_path: int | None


def observe(record: AccessRecord, offset: int) -> Observation:
    """The address of a client is cut: a foreign producer may write anything there."""
    missing_path = _hashed(record.path or record.request or "") if record.status == 404 else None
    time_ms = round(record.time.timestamp() * 1000)
    return Observation(offset, time_ms, record.status, record.client_address[:MAX_CLIENT_CHARACTERS], missing_path)


def _hashed(path: str) -> int:
    """The same in every process, and of one size whatever a client asks for."""
    return int.from_bytes(blake2b(path.encode(errors="surrogatepass"), digest_size=PATH_HASH_BYTES).digest())


@dataclass(slots=True)
class Past:
    """What is remembered of a window that is closed."""

    requests: int
    top_clients: list[str]


@dataclass(slots=True)
class Window:
    """Counts. `clients` and `missing` are limited; what is beyond is in `requests` and `server_errors` all the same."""

    requests: int = 0
    server_errors: int = 0
    clients: dict[str, int] = field(default_factory=dict)
    missing: dict[str, set[int]] = field(default_factory=dict)
    missing_count: int = 0

    def count(self, seen: Observation, rules: Rules) -> bool:
        """Take one request; whether there was room for all of it."""
        self.requests += 1
        self.server_errors += 500 <= seen.status <= 599
        if seen.client not in self.clients and len(self.clients) >= rules.max_clients:
            return False
        self.clients[seen.client] = self.clients.get(seen.client, 0) + 1
        return seen.missing_path is None or self._miss(seen.client, seen.missing_path, rules)

    def _miss(self, client: str, path: int, rules: Rules) -> bool:
        paths = self.missing.get(client, set())
        if path in paths or len(paths) > rules.scan.paths:
            return True  # more than the limit is as much as the rule asks for
        if self.missing_count >= rules.max_paths:
            return False
        self.missing.setdefault(client, paths).add(path)
        self.missing_count += 1
        return True

    def past(self) -> Past:
        """Of equals the one whose name comes first, so that the order of arrival decides nothing."""
        top = heapq.nsmallest(TOP_CLIENTS, self.clients.items(), key=lambda item: (-item[1], item[0]))
        return Past(self.requests, [client for client, _count in top])
