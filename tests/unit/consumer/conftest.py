"""The sinks' tests use a real database where the sink does."""

from tests.postgres_server import database, postgres_server

__all__ = ["database", "postgres_server"]
