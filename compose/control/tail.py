"""Files that other programs append to and rotate, read as they grow."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


class FileTail:
    """Complete lines of one file from its end on, over rotations by rename."""

    def __init__(self, path: Path, *, from_end: bool = True) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._partial = b""
        self._open(from_end)

    def _open(self, at_end: bool) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        if at_end:
            self._file.seek(0, os.SEEK_END)
        return True

    def read(self) -> Iterator[str]:
        """Complete lines since the last call; the rest of a file that was renamed away comes before the new one."""
        if self._file is None and not self._open(at_end=False):
            return
        yield from self._drain()
        while self._renamed_away():
            yield from self._drain()
            self.close()
            if not self._open(at_end=False):
                return
            yield from self._drain()

    def _drain(self) -> Iterator[str]:
        assert self._file is not None
        while chunk := self._file.read(CHUNK_BYTES):
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")

    def _renamed_away(self) -> bool:
        assert self._file is not None
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def last_lines(path: Path, count: int) -> Sequence[str]:
    """The last lines of a file; none when there is no file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


class FilesOutput:
    """The output of several processes, each with a file of its own; files that appear later are read too."""

    def __init__(self, find_files: Callable[[], Mapping[str, Path]]) -> None:
        self._find_files = find_files
        self._tails = {name: FileTail(path) for name, path in find_files().items()}
        self._lines: list[str] = []
        self._needle: str | None = None

    def matching(self, needle: str) -> Sequence[str]:
        """Every line so far that holds `needle`; the first needle asked for stays the one."""
        assert self._needle in (None, needle)
        self._needle = needle
        for _name, line in self.new_lines():
            if needle in line:
                self._lines.append(line)
        return self._lines

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """(process, line) since the last call."""
        for name, path in self._find_files().items():
            if name not in self._tails:
                self._tails[name] = FileTail(path, from_end=False)
        for name, tail in self._tails.items():
            for line in tail.read():
                yield name, line
