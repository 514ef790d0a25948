"""What tests of the archive count, with DuckDB, which shares no code with the sink."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb


def archived(directory: Path) -> Counter[int]:
    """How often each record is archived, by its number, the offset of its line."""
    if not any(directory.glob("*/*/*/*.parquet")):
        return Counter()
    with duckdb.connect() as connection:
        pattern = f"{directory}/*/*/*/*.parquet"
        text = "SELECT source_offset, count(*) FROM read_parquet(?, union_by_name = true) GROUP BY 1"
        return Counter(dict(connection.execute(text, [pattern]).fetchall()))


def archived_count(directory: Path) -> int:
    """How many rows there are, while processes write and merge; 0 when a file goes while it is looked at."""
    try:
        return archived(directory).total()
    except duckdb.IOException:
        return 0


def misplaced_rows(directory: Path) -> int:
    """Rows that do not stand where their columns say: in another hour or partition, or outside of their file's span."""
    with duckdb.connect() as connection:
        found = connection.execute(
            r"""
            SELECT count(*) FROM read_parquet(?, hive_partitioning = true, filename = true)
            WHERE strftime(timezone('UTC', time), '%Y-%m-%d %H') <> strftime(date, '%Y-%m-%d') || printf(' %02d', hour)
               OR kafka_partition <> regexp_extract(filename, '/p(\d+)-', 1)::INT
               OR kafka_offset NOT BETWEEN regexp_extract(filename, '-(\d{20})-', 1)::BIGINT
                                       AND regexp_extract(filename, '-(\d{20})\.parquet', 1)::BIGINT
            """,
            [f"{directory}/*/*/*/*.parquet"],
        ).fetchone()
    assert found is not None
    misplaced: int = found[0]
    return misplaced
