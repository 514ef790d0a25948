"""`python -m services.consumer.archive.find FOLDER NEEDLE SINCE`: what `make verify` counts in an archive.

Prints {"path": …} for every archived record whose path holds NEEDLE, of the hours from SINCE (ISO 8601) on. FOLDER is
that of a topic.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from services.consumer.archive.layout import hour_of, microseconds_of
from services.consumer.archive.survey import hour_folders


def lines_holding(topic_folder: Path, needle: str, since: datetime) -> Iterator[str]:
    """One JSON object for each record."""
    first_hour = hour_of(microseconds_of(since))
    for hour, folder in hour_folders(topic_folder):
        if hour >= first_hour:
            yield from (json.dumps({"path": path}) for path in _paths_in(folder) if path is not None and needle in path)


def _paths_in(folder: Path, attempts: int = 3) -> list[str | None]:
    """Of every row. A file that was merged away since it was listed makes it look again."""
    found: list[str | None] = []
    try:
        for file in folder.glob("*.parquet"):
            found += pq.ParquetFile(file).read(columns=["path"]).column("path").to_pylist()
    except FileNotFoundError:
        if attempts == 1:
            raise
        return _paths_in(folder, attempts - 1)
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, needle, since = arguments
    for line in lines_holding(Path(folder), needle, datetime.fromisoformat(since)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
