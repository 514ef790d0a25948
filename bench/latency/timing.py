"""How old records are when a handler gets them. HANDLER=bench.latency.timing:handle, and what peers use too.

The query of a record's line is the moment it was due, in nanoseconds of the machine's monotonic clock; 0 is a line
that only warms up.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from shared.schemas import AccessRecord


class Ages:
    """Writes all ages, in milliseconds, when the expected number is there."""

    def __init__(self, expected: int, result_file: Path) -> None:
        self._expected = expected
        self._result_file = result_file
        self._ages_ms: list[float] = []

    @classmethod
    def from_environment(cls) -> Ages:
        return cls(int(os.environ.get("EXPECTED_RECORDS", "0")), Path(os.environ.get("RESULT_FILE", "result.json")))

    def add(self, records: Sequence[AccessRecord]) -> None:
        """These are here now."""
        now_ns = time.monotonic_ns()
        due_ns = [int(record.query or 0) for record in records]
        self._ages_ms += [(now_ns - due) / 1e6 for due in due_ns if due]
        if len(self._ages_ms) >= self._expected and not self._result_file.exists():
            draft = self._result_file.with_suffix(".draft")
            draft.write_text(json.dumps(self._ages_ms))
            draft.replace(self._result_file)


_ages = Ages.from_environment()


async def handle(records: Sequence[AccessRecord]) -> None:
    """Note their ages."""
    _ages.add(records)
