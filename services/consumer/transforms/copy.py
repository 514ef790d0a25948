"""Every record as it is."""

from __future__ import annotations

from services.consumer.transforms.base import Transform
from shared.schemas import AccessRecord


def _same(_record: AccessRecord, value: bytes) -> bytes:
    return value


COPY = Transform(_same)
