"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.rounds import SuiteResult
from compose.local.jars import read_lock

_PACKAGES = ("aiokafka", "confluent-kafka", "pydantic", "uvloop", "cramjam")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of one run. `foreign_cores` is what other programs kept busy, the median of all samples."""

    date: str
    elapsed_s: float
    machine: str
    cores: int
    versions: Mapping[str, str]
    foreign_cores: float

    def described(self) -> dict[str, str]:
        """For people, without the name of the machine."""
        return {
            "machine": f"{self.machine}, shared with other programs",
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            "cores busy with other programs": f"{self.foreign_cores:.2f}",
        }


def conditions_of(results: Sequence[SuiteResult], elapsed_s: float) -> Conditions:
    """Look at this machine."""
    foreign = [
        sample.figures["foreign_cores"]
        for result in results
        for sample in result.samples
        if "foreign_cores" in sample.figures
    ]
    return conditions_now(elapsed_s, versions(), median(foreign))


def conditions_now(elapsed_s: float, versions_by_name: Mapping[str, str], foreign_cores: float) -> Conditions:
    """Of this machine, today."""
    return Conditions(
        date=datetime.now(UTC).date().isoformat(),
        elapsed_s=elapsed_s,
        machine=machine_kind(),
        cores=os.cpu_count() or 1,
        versions=versions_by_name,
        foreign_cores=foreign_cores,
    )


def machine_kind() -> str:
    """Cores, processor and memory, without the name of the machine."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count() or 1} cores ({_processor()}), {memory_gb:.0f} GB"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> dict[str, str]:
    """Of what was measured and of what measured it."""
    kafka = next(jar.version for jar in read_lock() if jar.artifact == "kafka-clients")
    packages = {name: version(name) for name in _PACKAGES}
    return {"Python": platform.python_version(), "Apache Kafka": kafka, **packages}
