"""The writer: real files that lines are appended to, rotated and truncated as programs do it, and journaled."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.journal import Expected, Journal, OddLine
from tests.chaos.lines import numbered_line

PACE_S = 0.01


class LogFile:
    """A log that one program holds open for appending. Its methods may be called from several threads."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._begin()

    def _begin(self) -> None:
        self.position = os.fstat(self._descriptor).st_size
        assert self.position == 0, f"{self.path} is not new; take the LogFile that wrote it"
        self.content = self._journal.begin_content(self.path.name, os.fstat(self._descriptor).st_ino)

    @property
    def inode(self) -> int:
        return os.fstat(self._descriptor).st_ino

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def write(self, count: int) -> range:
        """Append numbered lines in one write; their numbers."""
        with self._journal.lock():
            first = len(self._journal)
            texts = [numbered_line(self._journal.run, number) for number in range(first, first + count)]
            data = b"".join(texts)
            self._write(data)
            self._journal.note_lines(self.content, self.position, data, [len(text) for text in texts])
            self.position += len(data)
        return range(first, first + count)

    def write_odd(self, raw: bytes, expected: Expected) -> int:
        """Append a line of its own making (without newline in it); its number."""
        with self._journal.lock():
            number = len(self._journal)
            self._journal.odd[number] = OddLine(raw, expected)
            self._write(raw + b"\n")
            self._journal.note_lines(self.content, self.position, raw + b"\n", [len(raw) + 1])
            self.position += len(raw) + 1
        return number

    def begin_line(self, kept_bytes: int) -> bytes:
        """Append the beginning of a numbered line; returns all of it, for `end_line`, which has to be next."""
        text = numbered_line(self._journal.run, len(self._journal))
        self._write(text[:kept_bytes])
        return text

    def end_line(self, text: bytes, kept_bytes: int) -> None:
        """Append the rest, and note the line."""
        self._write(text[kept_bytes:])
        with self._journal.lock():
            self._journal.note_lines(self.content, self.position, text, [len(text)])
        self.position += len(text)

    def write_unterminated(self, raw: bytes) -> None:
        """Append bytes without a newline, as the last thing in this content. No line is noted: there is none."""
        self._write(raw)

    def rotate(self, to: Path) -> None:
        """Rename and create anew, as logrotate does with `create`."""
        with self._journal.lock():
            self.path.rename(to)
            os.close(self._descriptor)
            self._open()

    def rotate_keeping_the_writer(self, to: Path) -> LogFile:
        """Rename; the caller's writer goes on in the renamed file. Returns the new file under the old name."""
        with self._journal.lock():
            old_path = self.path
            self.path.rename(to)
            self.path = to
            return LogFile(old_path, self._journal)

    def copy_and_truncate(self, to: Path) -> int:
        """Copy, then truncate in place, as logrotate does with `copytruncate`; the size that was cut off."""
        with self._journal.lock():
            shutil.copyfile(self.path, to)
            return self._truncate(0)

    def cut(self, size_bytes: int) -> None:
        """Lose the end of the file, as after a crash of the machine. The content stays and goes on from there."""
        with self._journal.lock():
            os.ftruncate(self._descriptor, size_bytes)
            self.position = size_bytes

    def _truncate(self, size_bytes: int) -> int:
        size = self.position
        os.ftruncate(self._descriptor, size_bytes)
        self._begin()
        return size

    def recreate(self) -> None:
        """Delete and create, at once: many file systems then give the same inode again."""
        with self._journal.lock():
            os.close(self._descriptor)
            self.path.unlink()
            self._open()

    def close(self) -> None:
        os.close(self._descriptor)


def compress(path: Path) -> Path:
    """As gzip does: path.gz beside it, and the original is gone."""
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    path.unlink()
    return target


class Load(threading.Thread):
    """Appends lines at a steady rate until the block ends. Rotations of the same LogFile may happen meanwhile."""

    def __init__(self, log: LogFile, lines_per_s: int) -> None:
        super().__init__(daemon=True, name=f"writer of {log.path.name}")
        self._log = log
        self._lines = max(1, int(lines_per_s * PACE_S))
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.wait(PACE_S):
                self._log.write(self._lines)
        except OSError as error:
            self._error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join(10)
        if self._error is not None:
            raise self._error
