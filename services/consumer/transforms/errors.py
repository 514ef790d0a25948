"""The requests that a server failed to answer."""

from __future__ import annotations

from services.consumer.transforms.base import Transform
from shared.schemas import AccessRecord

FIRST_SERVER_ERROR = 500


def _failed(record: AccessRecord, value: bytes) -> bytes | None:
    return value if record.status >= FIRST_SERVER_ERROR else None


ERRORS = Transform(_failed)
