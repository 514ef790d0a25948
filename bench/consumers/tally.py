"""Counts records inside the process of a contender, the same way for all, and writes down what they cost."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from bench.child import memory_bytes


class Tally:
    """The clock starts with the first records, which are not counted: joining the group is not what is measured."""

    def __init__(self, expected: int, result_file: Path) -> None:
        self._expected = expected
        self._result_file = result_file
        self._uncounted = 0
        self._seen = 0
        self._started_at = self._cpu_before_s = 0.0

    @classmethod
    def from_environment(cls) -> Tally:
        return cls(int(os.environ["EXPECTED_RECORDS"]), Path(os.environ["RESULT_FILE"]))

    @property
    def complete(self) -> bool:
        return self._seen >= self._expected

    def add(self, count: int) -> None:
        """So many more validated records are here."""
        if not self._seen:
            self._uncounted = count
            self._started_at, self._cpu_before_s = time.monotonic(), time.process_time()
        before, self._seen = self._seen, self._seen + count
        if before < self._expected <= self._seen:
            self._write()

    def _write(self) -> None:
        result = {
            "records": self._seen - self._uncounted,
            "elapsed_s": time.monotonic() - self._started_at,
            "cpu_s": time.process_time() - self._cpu_before_s,
            "peak_rss_bytes": memory_bytes("VmHWM"),
        }
        draft = self._result_file.with_suffix(".draft")
        draft.write_text(json.dumps(result))
        draft.replace(self._result_file)
