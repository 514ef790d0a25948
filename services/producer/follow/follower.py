"""All followed files: finds them, keeps them apart, and hands out their lines, older files first.

`scan` looks at the disk and decides what each file is; `next_chunk` reads. Both are called from one place, the
pipeline, and never wait.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from glob import glob
from pathlib import Path

from services.producer.chunk import MAX_REMEMBERED_FILES, Chunk, KnownFile
from services.producer.follow import events
from services.producer.follow.events import FileEvent
from services.producer.follow.identity import HEAD_BYTES, find_known, pattern_directory, truncations_of
from services.producer.follow.tailed_file import ReadLimits, TailedFile

_GZIP_MAGIC = b"\x1f\x8b"


class Follower:
    """Follows what matches `patterns`.

    `known` are the files of earlier runs. Unknown files that are there on the first scan and match none but patterns of
    `start_at_end` are skipped: such patterns were not followed before, so nothing that was to be read is missed. A file
    that was renamed away or deleted is read to its end and let go when nothing came for `retire_after_s`.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        known: Iterable[KnownFile],
        start_at_end: Collection[str],
        limits: ReadLimits,
        retire_after_s: float,
    ) -> None:
        self._patterns = patterns
        self._known = {file.identity.generation: file for file in known}
        self._start_at_end = start_at_end
        self._skipped_paths: set[str] = set()
        self._limits = limits
        self._retire_after_s = retire_after_s
        self._files: dict[tuple[int, int], TailedFile] = {}
        self._by_path: dict[str, TailedFile] = {}
        self._ready: dict[TailedFile, None] = {}
        self._ready_first: dict[TailedFile, None] = {}  # superseded files: what they hold is older
        self._events: list[FileEvent] = []
        self._opened: list[KnownFile] = []
        self._complaints: set[tuple[str, str, str]] = set()
        self._leftovers: list[Chunk] = []
        self._scanned = False
        self.has_more = False  # whether `next_chunk` gave nothing only because its one step was over

    @property
    def files(self) -> Iterable[TailedFile]:
        """Every open file."""
        return self._files.values()

    def take_events(self) -> list[FileEvent]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def take_opened(self) -> list[KnownFile]:
        """Files that were identified since the last call, with the position that they are read from."""
        taken, self._opened = self._opened, []
        return taken

    def directories(self) -> set[str]:
        """The folders in which a change may concern a followed file."""
        return {os.path.dirname(path) for path in self._by_path} | {  # noqa: PTH120 -- the spelling of glob
            pattern_directory(pattern) for pattern in self._patterns
        }

    def notice(self, path: str) -> bool:
        """A file at this path changed; returns whether it is a followed one."""
        file = self._by_path.get(path)
        if file is not None:
            self._mark_ready(file)
        return file is not None

    def scan(self, now: float) -> None:
        """Look at the disk: new files, renamed, deleted and truncated ones, files that were not announced."""
        found = self._found_paths()
        self._skipped_paths = set() if self._scanned else self._paths_to_skip()
        self._follow_renames(found, now)
        for path in found:
            self._open_if_new(path)
        if not self._scanned:
            self._open_rotated_while_stopped(now)
            self._scanned = True
        for file in list(self._files.values()):
            try:
                self._look_at(file, now)
            except OSError as error:
                self._complain_of(file.path, error)

    def next_chunk(self, now: float) -> Chunk | None:
        """The next lines of a file that has some, files taking turns; None when all are read.

        None also when one bounded step through a long line found no end: then `has_more` is set.
        """
        self.has_more = False
        if self._leftovers:
            return self._leftovers.pop(0)
        while file := next(iter(self._ready_first or self._ready), None):
            try:
                chunk = self._read(file)
                if chunk is not None or file.has_unsearched_bytes:
                    file.active_at = now
                    self._to_the_end_of_the_queue(file)
                    self.has_more = chunk is None
                    return chunk
                file.drained_size = file.size
            except OSError as error:
                self._complain_of(file.path, error)
            self._ready_first.pop(file, None)
            self._ready.pop(file, None)
        return None

    def _to_the_end_of_the_queue(self, file: TailedFile) -> None:
        """Files take turns; superseded ones do not, the oldest is read to its end first."""
        if file in self._ready:
            self._ready[file] = self._ready.pop(file)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._by_path.clear()
        self._ready.clear()
        self._ready_first.clear()

    def _found_paths(self) -> dict[str, tuple[int, int]]:
        """Readable regular files that match, with device and inode, in the order of the patterns and names."""
        found: dict[str, tuple[int, int]] = {}
        for pattern in self._patterns:
            paths = _matches(pattern)
            if paths:
                self._withdraw_complaints(pattern)
            else:
                self._complain(events.no_files(pattern))
            for path in paths:
                try:
                    status = Path(path).stat()
                except OSError as error:
                    self._complain_of(path, error)
                    continue
                if refusal := _refusal(path, status.st_mode):
                    self._complain(events.file_refused(_printable(path), refusal))
                else:
                    found[path] = (status.st_dev, status.st_ino)
        return found

    def _paths_to_skip(self) -> set[str]:
        """Paths that only patterns with START_AT=end match."""
        read = {path for pattern in self._patterns if pattern not in self._start_at_end for path in _matches(pattern)}
        return {path for pattern in self._start_at_end for path in _matches(pattern)} - read

    def _follow_renames(self, found: dict[str, tuple[int, int]], now: float) -> None:
        """Give each open file the path that it lies at now; retire those that are at none of the found ones."""
        paths_by_inode = {inode: path for path, inode in reversed(found.items())}
        for inode, file in self._files.items():
            path = file.path if found.get(file.path) == inode else paths_by_inode.get(inode)
            if path is None:
                if file.retired_at is None:
                    file.retired_at = now
                    self._supersede(file)
            elif path != file.path:
                file.path, file.retired_at = path, None
                self._supersede(file)
            elif file.retired_at is not None:
                file.retired_at = None
                self._restore(file)
        self._by_path = {file.path: file for file in self._files.values() if file.retired_at is None}

    def _open_if_new(self, path: str) -> None:
        if path in self._by_path:
            return
        file = self._open(path)
        if file is not None:
            self._by_path[path] = file

    def _open(self, path: str) -> TailedFile | None:
        """Open and find out whether it is known. None, with an event, when it cannot be followed."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._complain_of(path, error)
            return None
        try:
            file = self._adopt(descriptor, path)
        except OSError as error:
            os.close(descriptor)
            self._complain_of(path, error)
            return None
        if file is None:
            os.close(descriptor)
            return None
        self._withdraw_complaints(path)
        self._files[(file.device, file.inode)] = file
        self._events.append(events.file_followed(path, file.position, file.size))
        if file.identity is not None:
            self._opened.append(KnownFile(file.identity, file.position))
        self._mark_ready(file)
        return file

    def _adopt(self, descriptor: int, path: str) -> TailedFile | None:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) in self._files:
            return None  # the same file by another name
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if head.startswith(_GZIP_MAGIC):
            self._complain(events.file_refused(path, "compressed; only plain text is followed"))
            return None
        identity = find_known((known.identity for known in self._known.values()), status.st_ino, head)
        if identity is None:
            file = TailedFile(descriptor, path, self._limits, None, 0, self._earlier_contents(status.st_ino))
            if path in self._skipped_paths:
                file.skip_to_last_line()
            return file
        position = self._known.pop(identity.generation).position
        file = TailedFile(descriptor, path, self._limits, identity, position)
        if position > status.st_size:
            self._events.append(events.file_truncated(path, position, status.st_size))
            file.start_over()
        return file

    def _earlier_contents(self, inode: int) -> int:
        """How many contents this inode had before, so that the next one gets a generation of its own."""
        counts = [truncations_of(file.identity) + 1 for file in self._known.values() if file.identity.inode == inode]
        return max(counts, default=0)

    def _open_rotated_while_stopped(self, now: float) -> None:
        """Find the known files that were renamed away from the patterns, by their inodes in their old folders."""
        still_wanted = [
            known.identity
            for known in self._known.values()
            if any(fnmatch(known.identity.path, pattern) for pattern in self._patterns)
        ]
        wanted = {identity.inode for identity in still_wanted}
        for folder in {str(Path(identity.path).parent) for identity in still_wanted}:
            try:
                with os.scandir(folder) as entries:
                    paths = [entry.path for entry in entries if entry.inode() in wanted and entry.is_file()]
            except OSError:
                continue  # the folder is gone, and the files with it
            for path in sorted(paths, key=_modified_at):  # the oldest first
                file = self._open_known(path)
                if file is not None:
                    file.retired_at = now
                    self._supersede(file)

    def _open_known(self, path: str) -> TailedFile | None:
        """Open a file outside the patterns, if it is a known one; without an event if it is not."""
        try:
            with Path(path).open("rb") as peek:
                head, inode = peek.read(HEAD_BYTES), os.fstat(peek.fileno()).st_ino
        except OSError:
            return None
        known = find_known((file.identity for file in self._known.values()), inode, head)
        return self._open(path) if known is not None else None

    def _look_at(self, file: TailedFile, now: float) -> None:
        self._start_over_if_replaced(file)
        if file.identify_early():
            assert file.identity is not None
            self._opened.append(KnownFile(file.identity, file.position))
        if file.size > file.position:
            self._mark_ready(file)
        if file.retired_at is None or file.drained_size != file.size:
            return
        if now - max(file.retired_at, file.active_at) >= self._retire_after_s:
            self._let_go(file)

    def _let_go(self, file: TailedFile) -> None:
        """Close a retired file. What stands behind its last newline goes out as it is."""
        if (chunk := file.read_unterminated()) is not None:
            self._leftovers.append(chunk)
        if file.identity is not None and len(self._known) < MAX_REMEMBERED_FILES:
            self._known[file.identity.generation] = KnownFile(file.identity, file.position)
        self._events.append(events.file_finished(file.path, file.position))
        self._ready_first.pop(file, None)
        self._ready.pop(file, None)
        del self._files[(file.device, file.inode)]
        file.close()

    def _start_over_if_replaced(self, file: TailedFile) -> None:
        if file.has_been_replaced():
            self._events.append(events.file_truncated(file.path, file.position, file.size))
            file.start_over()

    def _read(self, file: TailedFile) -> Chunk | None:
        # A write may announce a truncation: looked at before every read, or new lines would pass for old ones.
        self._start_over_if_replaced(file)
        return file.read_chunk()

    def _supersede(self, file: TailedFile) -> None:
        """It was rotated away: what is left in it comes before what is in its successor."""
        self._events.append(events.file_rotated(file.path, max(0, file.size - file.position)))
        self._ready.pop(file, None)
        file.superseded = True
        self._ready_first[file] = None

    def _restore(self, file: TailedFile) -> None:
        """It came back to its place."""
        file.superseded = False
        if self._ready_first.pop(file, file) is None:
            self._ready[file] = None

    def _mark_ready(self, file: TailedFile) -> None:
        (self._ready_first if file.superseded else self._ready)[file] = None

    def _complain_of(self, path: str, error: OSError) -> None:
        """A file that vanished between two looks is no fault."""
        if not isinstance(error, FileNotFoundError):
            self._complain(events.file_unreadable(_printable(path), f"{error.strerror}; it is tried again"))

    def _complain(self, event: FileEvent) -> None:
        """Tell a state when it begins, and again only after it was over."""
        key = (event.name, event.path, str(event.details))
        if key not in self._complaints:
            self._complaints.add(key)
            self._events.append(event)

    def _withdraw_complaints(self, path: str) -> None:
        self._complaints = {complaint for complaint in self._complaints if complaint[1] != path}


def _modified_at(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0  # gone meanwhile; opening it will tell


def _matches(pattern: str) -> list[str]:
    return sorted(glob(pattern, recursive=True))


def _refusal(path: str, mode: int) -> str | None:
    """Why a path is not followed; None when it is."""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return None if path == _printable(path) else "its name is no UTF-8"


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
