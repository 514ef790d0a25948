"""What the temporary folders lie on: an fsync is worth what the file system makes of it."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

WRITE_BYTES = 4_096
SYNC_COUNT = 100
IN_MEMORY = ("tmpfs", "ramfs")
MOUNTS_FILE = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class Disk:
    """`sync_ms` is the median of writing 4 KB and waiting until they are on it."""

    file_system: str
    sync_ms: float

    @property
    def keeps(self) -> bool:
        """Whether what was synced is anywhere but in memory."""
        return self.file_system not in IN_MEMORY

    def described(self) -> str:
        """For people."""
        synced = f"{WRITE_BYTES:,} bytes written and synced in {self.sync_ms:.2f} ms (median of {SYNC_COUNT})"
        return f"{self.file_system}; {synced}"


def look_at_disk() -> Disk:
    """Below the folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="compare-disk-") as name:
        folder = Path(name)
        return Disk(file_system_of(folder.resolve(), MOUNTS_FILE.read_text()), _sync_ms(folder / "file"))


def file_system_of(folder: Path, mounts: str) -> str:
    """By the longest mount point above the folder; of two at one point the later one is seen."""
    found = {Path(point): kind for _device, point, kind, *_rest in map(str.split, mounts.splitlines())}
    return next((found[above] for above in (folder, *folder.parents) if above in found), "unknown")


def _sync_ms(path: Path) -> float:
    data = os.urandom(WRITE_BYTES)
    times_ms = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNC_COUNT):
            begun_at = time.monotonic()
            file.write(data)
            os.fdatasync(file.fileno())
            times_ms.append((time.monotonic() - begun_at) * 1e3)
    return median(times_ms)
