"""SINK=postgres: records in a table of PostgreSQL, each once.

`sink.py` says how; `holdings.py`, `rows.py`, `failures.py` and `migrations.py` are pure, `database.py` alone speaks to
the database.
"""

from __future__ import annotations

from services.consumer.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresSink"]
