"""The Kafka headers by which records that were sent again on purpose are known. Pure."""

from __future__ import annotations

from shared.schemas.dead_letter import Headers
from shared.schemas.headers import REPLAY_HEADER

# Beside REPLAY_HEADER, which has the id of the run: when that began (ISO 8601, UTC).
REPLAY_TIME = "replay-time"
# On a marker in the dead-letter topic: `PARTITION/OFFSET` of the dead letter whose line is a record now.
RESOLVED = "dlt-resolved"


def replay_headers(run_id: str, started_at: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of every record of one run."""
    return ((REPLAY_HEADER, run_id.encode()), (REPLAY_TIME, started_at.encode()))


def is_replayed(headers: Headers) -> bool:
    """Whether a record was sent again on purpose, or is a marker of that."""
    return any(name == REPLAY_HEADER for name, _value in headers)
