"""File systems of their own, for disks that are full or read-only. Raises NotRun where none can be mounted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.chaos.scene import NotRun

MOUNT_TIMEOUT_S = 10.0


def mount_small(folder: Path, size_bytes: int) -> None:
    """A file system in memory."""
    mount("-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder))


def mount(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["mount", *arguments], capture_output=True, text=True, timeout=MOUNT_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise NotRun("there is no mount command here") from None
    if done.returncode != 0:
        raise NotRun(f"no file system can be mounted here: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Nothing where nothing is mounted."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False, timeout=MOUNT_TIMEOUT_S)
