"""The sink that all contenders share: a line per record, in the file, before its offset may be committed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.consumers.tally import Tally
from shared.schemas import AccessRecord


class FileSink:
    """Appends to a file beside the result."""

    def __init__(self) -> None:
        self.tally = Tally.from_environment()
        self._file = (Path(os.environ["RESULT_FILE"]).parent / "records").open("ab", buffering=0)

    def write(self, records: Sequence[AccessRecord]) -> None:
        """All of them, in one piece; then they are counted."""
        lines = [
            f"{record.time.isoformat()} {record.client_address} {record.path} {record.status}" for record in records
        ]
        self._file.write("\n".join([*lines, ""]).encode())
        self.tally.add(len(records))
