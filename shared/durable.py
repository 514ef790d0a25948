"""Files that appear whole or not at all, in folders that outlive a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def appearing(temporary: Path, target: Path) -> Iterator[BinaryIO]:
    """A file to write to, which is `target` when the block ends, durably, and nowhere when it fails."""
    # Never emptied in place: after a power cut a leftover may be another name of a file that is archived.
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def make_folder(path: Path, root: Path) -> None:
    """Make `path`, which lies below `root`, with the folders between, all of them durable.

    Those that are there already are synced too: who made them may have died before.
    """
    path.mkdir(parents=True, exist_ok=True)
    while path != root:
        sync_folder(path)
        path = path.parent
    sync_folder(root)


def make_root(path: Path) -> None:
    """The same for the folder that all is below. Of its parents, those are synced that this user may read."""
    path.mkdir(parents=True, exist_ok=True)
    for folder in (path, *path.absolute().parents):
        with suppress(PermissionError):
            sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Make the names in a folder as durable as the files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
