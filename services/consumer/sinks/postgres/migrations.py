"""The tables, and every change of them since the first version. Pure.

A released migration is never edited: what must change is another one at the end. Rows are only added to these tables,
so a migration may add columns that may be null, and indexes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableNames:
    """The table of the records and those beside it. `schema` is None where the search path decides."""

    schema: str | None
    table: str

    @classmethod
    def parse(cls, text: str) -> TableNames:
        """From `table` or `schema.table`, as the settings have checked it."""
        schema, _, table = text.rpartition(".")
        return cls(schema or None, table)

    @property
    def records(self) -> str:
        """As SQL, like the others."""
        return self._quoted(self.table)

    @property
    def offsets(self) -> str:
        return self._quoted(f"{self.table}_offsets")

    @property
    def versions(self) -> str:
        return self._quoted(f"{self.table}_schema")

    @property
    def time_index(self) -> str:
        """An index lies in the schema of its table, and its name is given without one."""
        return f'"{self.table}_time_idx"'

    def _quoted(self, name: str) -> str:
        """A name of letters, digits and _ needs its quotes only where it is a word of SQL."""
        return f'"{self.schema}"."{name}"' if self.schema else f'"{name}"'


@dataclass(frozen=True, slots=True)
class Migration:
    """What leads from the version before to this one."""

    version: int
    statements: tuple[str, ...]


def migrations(names: TableNames) -> tuple[Migration, ...]:
    """All of them, in order."""
    return (
        Migration(
            1,
            (
                f"""CREATE TABLE {names.records} (
                    time timestamptz NOT NULL,
                    client_address text NOT NULL,
                    client_ip inet,
                    remote_user text,
                    method text,
                    path text,
                    query text,
                    protocol text,
                    request text,
                    status smallint NOT NULL,
                    body_bytes bigint,
                    referrer text,
                    user_agent text,
                    forwarded_for text,
                    details jsonb,
                    escaped_fields text[] NOT NULL,
                    source_host text NOT NULL,
                    source_file text NOT NULL,
                    source_generation text NOT NULL,
                    source_offset bigint NOT NULL,
                    source_length bigint NOT NULL,
                    kafka_topic text NOT NULL,
                    kafka_partition integer NOT NULL,
                    kafka_offset bigint NOT NULL,
                    PRIMARY KEY (kafka_topic, kafka_partition, kafka_offset)
                )""",
                f"CREATE INDEX {names.time_index} ON {names.records} (time)",
                f"""CREATE TABLE {names.offsets} (
                    consumer_group text NOT NULL,
                    topic text NOT NULL,
                    partition integer NOT NULL,
                    next_offset bigint NOT NULL,
                    PRIMARY KEY (consumer_group, topic, partition)
                )""",
            ),
        ),
    )
