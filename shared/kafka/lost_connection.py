"""A connection that the broker has closed, as aiokafka 0.14 expects it: as an error of its own.

It takes whatever a write to a closed transport raises for an OSError. uvloop raises RuntimeError, which nothing there
catches: the task that keeps the metadata up to date ended by it for good, and the client found no coordinator again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import conn
from aiokafka import errors as kafka_errors


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """With uvloop's word for a closed transport understood."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Raises KafkaConnectionError."""
        with self._closed_is_lost():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:
        with self._closed_is_lost():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _closed_is_lost(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise kafka_errors.KafkaConnectionError(f"connection at {self.host}:{self.port} lost: {error}") from error


def understand_lost_connections() -> None:
    """Let every client of this process make such connections. Sets a name of aiokafka's; a test notices a change."""
    conn.AIOKafkaConnection = Connection
