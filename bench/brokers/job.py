"""What a publishing or a consuming program is told, through its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.brokers.broker import Order, Topology
from bench.brokers.messages import RECORD_COUNT

VARIABLE = "COMPARISON_JOB"


@dataclass(frozen=True, slots=True)
class Step:
    """So long at a fixed rate, or with 0 as fast as messages are confirmed."""

    rate_per_s: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """`folder` is the program's own: `ready` and `done` are files that it makes there, `go` is made for it."""

    candidate: str
    address: str
    topology: Topology
    folder: Path
    steps: Sequence[Step] = ()
    group: str = ""
    worker: int = 0
    handling_ms: float = 0.0
    key_count: int = RECORD_COUNT

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def ready(self) -> Path:
        return self.folder / "ready"

    @property
    def go(self) -> Path:
        return self.folder / "go"

    @property
    def done(self) -> Path:
        return self.folder / "done"

    def environment(self) -> dict[str, str]:
        """For the program."""
        return {VARIABLE: json.dumps(asdict(self) | {"folder": str(self.folder)})}

    @classmethod
    def from_environment(cls) -> Job:
        """In the program."""
        told: dict[str, Any] = json.loads(os.environ[VARIABLE])
        told["folder"] = Path(told["folder"])
        told["steps"] = [Step(**step) for step in told["steps"]]
        told["topology"] = Topology(**told["topology"] | {"order": Order(told["topology"]["order"])})
        return cls(**told)
