"""All followed files: finds them, keeps them apart, and hands out their lines, older files first.

`scan` looks at the disk and decides what each file is; `next_chunk` reads. Both are called from one place, the
pipeline, and never wait.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from glob import glob
from pathlib import PurePath

from services.producer.chunk import Chunk, KnownFile, Seen
from services.producer.follow import events
from services.producer.follow.events import FileEvent
from services.producer.follow.gzipped_file import GZIP_MAGIC, GzippedFile
from services.producer.follow.identity import HEAD_BYTES, pattern_directory
from services.producer.follow.memory import Memory
from services.producer.follow.open_file import MAX_OPEN_FILES, NOTHING_TO_READ, WAITS_FOR_NEWLINE, OpenFile, ReadLimits
from services.producer.follow.search import Find, Search, add_name, folders_of, open_to_read
from services.producer.follow.tailed_file import TailedFile


class Follower:
    """Follows what matches `patterns`.

    `known` are the files of earlier runs. Unknown files that are there on the first scan and match none but patterns of
    `start_at_end` are skipped: such patterns were not followed before, so nothing that was to be read is missed. A file
    that was renamed away or deleted is read to its end and let go when nothing came for `retire_after_s`. Where a known
    file is not in its place any more, its folder is searched for it, and for files that came and went after it.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        known: Iterable[KnownFile],
        start_at_end: Collection[str],
        limits: ReadLimits,
        retire_after_s: float,
        max_open_files: int = MAX_OPEN_FILES,
    ) -> None:
        self._patterns = patterns
        self._memory = Memory(known)
        self._start_at_end = start_at_end
        self._skipped_paths: set[str] = set()
        self._limits = limits
        self._retire_after_s = retire_after_s
        self._max_open_files = max_open_files
        self._files: dict[tuple[int, int], OpenFile] = {}
        self._names = folders_of(known.identity.path for known in self._memory)
        self._search = Search(self._memory, self._files)
        self._search_wanted = True
        self._kept_paths: set[str] = set()  # those that hold what they held when the last run ended
        self._rotated: set[str] = set()  # paths whose file is not in its place any more, since the last search
        self._by_path: dict[str, OpenFile] = {}
        self._compressed: dict[str, tuple[int, int]] = {}  # paths that match, as of the last scan
        self._ready: dict[OpenFile, None] = {}
        self._ready_first: dict[OpenFile, None] = {}  # superseded files: what they hold is older
        self._events: list[FileEvent] = []
        self._opened: list[KnownFile] = []
        self._complaints: dict[str, set[str]] = {}  # by path
        self._unreadable: dict[str, str] = {}
        self._leftovers: list[Chunk] = []
        self._scanned = False
        self._is_full = False
        self.has_more = False  # whether `next_chunk` gave nothing only because its one step was over

    @property
    def files(self) -> Iterable[OpenFile]:
        """Every open file."""
        return self._files.values()

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Paths that could not be looked at, opened or read since the last scan began, and why."""
        return self._unreadable

    def take_events(self) -> list[FileEvent]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def take_opened(self) -> list[KnownFile]:
        """Files that were identified, or seen with unread bytes, since the last call; each with its position."""
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
        self._unreadable = {}
        found = self._found_paths()
        self._skipped_paths = set() if self._scanned else self._paths_to_skip()
        self._follow_renames(found, now)
        self._look_at_each(now)  # first: a copy that is found now is one of what was truncated a moment ago
        self._compressed = {}
        for path in found:
            self._open_if_new(path)
        if not self._scanned:
            self._rotated = self._not_in_their_places()
        if self._rotated or self._search_wanted:
            self._search_folders(now)
        for path, key in self._compressed.items():
            if not self._search.is_recognised(path, key):
                self._complain(events.file_refused(path, "compressed; only plain text is followed"))
        for file in self._files.values():
            self._memory.note_written(file.first_path, file.seen.modified_ns)
        self._scanned = True

    def next_chunk(self, now: float) -> Chunk | None:
        """The next lines of a file that has some, files taking turns; None when all are read.

        None also when one bounded step through a long line or a compressed file found none: then `has_more` is set.
        """
        self.has_more = False
        if self._leftovers:
            return self._leftovers.pop(0)
        while file := next(iter(self._ready_first or self._ready), None):
            try:
                chunk = self._read(file)
                if file.key not in self._files:
                    continue  # it is not what it was taken for, and was closed
                if chunk is not None or file.has_unsearched_bytes:
                    file.note_moved(now)
                    self._to_the_end_of_the_queue(file)
                    self.has_more = chunk is None
                    return chunk
                file.drained_size = file.size
                file.note_blocked(WAITS_FOR_NEWLINE if file.size > file.position else NOTHING_TO_READ, now)
            except OSError as error:
                file.note_blocked(_unreadable(error), now)
                self._complain_of(file.path, error)
            self._ready_first.pop(file, None)
            self._ready.pop(file, None)
        return None

    def _to_the_end_of_the_queue(self, file: OpenFile) -> None:
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
                    status = os.stat(path)  # noqa: PTH116 -- for thousands; a third of a scan went into making paths
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
            if file.is_relic:
                continue
            path = file.path if found.get(file.path) == inode else paths_by_inode.get(inode)
            if path != file.path and file.retired_at is None:
                self._rotated.add(file.first_path)
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
        if path in self._by_path or not self._has_room(path):
            return
        try:
            descriptor = open_to_read(path)
        except OSError as error:
            self._complain_of(path, error)
            return
        file = None
        try:
            file = self._adopt(descriptor, path)
        except OSError as error:
            self._complain_of(path, error)
        if file is None:
            os.close(descriptor)
            return
        self._follow(file)
        self._by_path[path] = file

    def _has_room(self, path: str) -> bool:
        """Whether one file more may be opened. Connections and the checkpoint need descriptors too."""
        has_room = len(self._files) < self._max_open_files
        if not has_room and not self._is_full:
            self._events.append(events.too_many_files(_printable(path), self._max_open_files))
        self._is_full = not has_room
        return has_room

    def _follow(self, file: OpenFile) -> None:
        self._withdraw_complaints(file.path)
        file.identify_early()
        self._files[file.key] = file
        add_name(self._names, file.first_path)
        self._events.append(events.file_followed(file.path, file.position, file.size))
        if file.known is not None:
            self._opened.append(file.known)
        self._mark_ready(file)

    def _adopt(self, descriptor: int, path: str) -> TailedFile | None:
        """The file to follow at a path that matches. None: it is compressed, or its content is read elsewhere."""
        status = os.fstat(descriptor)
        key, seen = (status.st_dev, status.st_ino), Seen(status.st_size, status.st_mtime_ns)
        if key in self._files or not stat.S_ISREG(status.st_mode):
            return None  # the same file by another name, or one that was exchanged since the look at it
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if head.startswith(GZIP_MAGIC):
            self._compressed[path] = key
            self._search_wanted |= not self._search.is_judged(key, seen)
            return None
        known = self._memory.on_inode(status.st_ino, head, descriptor)
        if known is not None:
            self._memory.take(known)
            file = TailedFile(descriptor, path, known.identity.path, self._limits)
            file.earlier_generations = self._memory.generations_on(file.inode)
            file.go_on_from(known)
            self._kept_paths.add(path)
            return file
        if self._search.is_copy(descriptor, path, self._names):
            self._search_wanted |= seen.size > 0 and not self._search.is_judged(key, seen)
            return None
        return self._adopt_unknown(descriptor, path)

    def _adopt_unknown(self, descriptor: int, path: str) -> TailedFile:
        file = TailedFile(descriptor, path, path, self._limits)
        file.earlier_generations = self._memory.generations_on(file.inode)
        replaced = self._memory.replaced_at(path, file.inode)
        if replaced is not None:
            self._events.append(events.file_truncated(path, replaced.position, file.size))
        if self._memory.written_ns(path) is not None:
            self._rotated.add(path)
        if path in self._skipped_paths:
            file.skip_to_last_line()
        return file

    def _not_in_their_places(self) -> set[str]:
        """At the start: paths that were followed and hold another file now, or none."""
        return {known.identity.path for known in self._memory if self._is_wanted(known)} - self._kept_paths

    def _is_wanted(self, known: KnownFile) -> bool:
        """Not when its pattern was taken out of LOG_FILES."""
        return any(fnmatch(known.identity.path, pattern) for pattern in self._patterns)

    def _search_folders(self, now: float) -> None:
        """Take up what was renamed, copied or compressed, and what came and went, the oldest first."""
        self._search_wanted = False
        wanted = {known for known in self._memory if self._is_wanted(known)}
        self._names = folders_of(
            [known.identity.path for known in self._memory] + [file.first_path for file in self._files.values()]
        )
        rotated = folders_of(self._rotated)
        finds: list[Find] = []
        unclear: set[str] = set()
        for folder, bases in self._names.items():
            result = self._search.look_into(folder, wanted, bases, rotated.get(folder, ()), again=self._scanned)
            finds += result.finds
            self._search_wanted |= result.is_undecided or bool(result.unreadable)
            if result.unreadable or result.is_undecided:
                for path, error in result.unreadable:
                    self._complain_of(path, error)
                unclear |= {known.identity.path for known in wanted if PurePath(known.identity.path).name in bases}
        for find in sorted(finds, key=lambda find: find.modified_ns):
            self._take_up(find, now)
        self._rotated = {path for path in self._rotated if path in unclear}
        for known in wanted.intersection(self._memory):
            if known.unread_bytes and known.identity.path not in unclear:
                self._tell_loss(known, known.unread_bytes)

    def _take_up(self, find: Find, now: float) -> None:
        """Read what was found outside the patterns, before what is in its place now."""
        file: OpenFile
        if find.is_gzip:
            file = GzippedFile(find.descriptor, find.path, find.first_path, self._limits, find.known)
        else:
            file = TailedFile(find.descriptor, find.path, find.first_path, self._limits)
            if find.known is not None:
                file.go_on_from(find.known)
        if find.known is None:
            file.earlier_generations = self._memory.generations_on(file.inode)
        elif find.known.seen is not None:
            file.expected_bytes = find.known.seen.size
        file.is_relic = find.is_gzip or (find.known is not None and find.known.identity.inode != file.inode)
        file.retired_at = now
        self._follow(file)
        self._supersede(file)

    def _look_at_each(self, now: float) -> None:
        for file in list(self._files.values()):
            try:
                self._look_at(file, now)
            except OSError as error:
                file.note_blocked(_unreadable(error), now)
                self._complain_of(file.path, error)

    def _look_at(self, file: OpenFile, now: float) -> None:
        self._start_over_if_replaced(file)
        if file.identify_early() and file.known is not None:
            self._opened.append(file.known)
        if file.size > file.position:
            self._mark_ready(file)
            if file.known is not None and file.told != file.seen:
                file.told = file.seen
                self._opened.append(file.known)
        if file.retired_at is None or file.drained_size != file.size:
            return
        if now - max(file.retired_at, file.active_at) >= self._retire_after_s:
            self._let_go(file)

    def _let_go(self, file: OpenFile) -> None:
        """Close a retired file. What stands behind its last newline goes out as it is."""
        if (chunk := file.read_unterminated()) is not None:
            self._leftovers.append(chunk)
        if isinstance(file, GzippedFile) and file.problem is not None:
            self._events.append(events.file_damaged(file.path, file.position, file.problem))
        self._events.append(events.file_finished(file.path, file.position))
        known = file.known
        if known is not None:
            self._memory.remember(known)
            if lost_bytes := file.missing_bytes():
                self._tell_loss(known, lost_bytes)
        self._search.settle(file.descriptor)
        self._close(file)

    def _close(self, file: OpenFile) -> None:
        self._ready_first.pop(file, None)
        self._ready.pop(file, None)
        del self._files[file.key]
        file.close()

    def _tell_loss(self, known: KnownFile, lost_bytes: int) -> None:
        """Say it once: what is told is not remembered as unread."""
        identity = known.identity
        self._events.append(
            events.bytes_lost(_printable(identity.path), identity.generation, known.position, lost_bytes)
        )
        if known.seen is not None:
            told = KnownFile(identity, known.position, known.tail, Seen(known.position, known.seen.modified_ns))
            self._memory.remember(told)
            self._opened.append(told)

    def _start_over_if_replaced(self, file: OpenFile) -> bool:
        """The rest of what it held is looked for with the next look at the disk: `copytruncate` makes a copy first."""
        seen_bytes = file.seen.size
        if not file.has_been_replaced():
            if (lost_bytes := seen_bytes - file.seen.size) > 0:  # its end was cut off
                generation = file.identity.generation if file.identity else None
                self._events.append(events.bytes_lost(file.path, generation, file.position, lost_bytes))
            return False
        known, lost_bytes = file.known, max(0, seen_bytes - file.position)
        self._events.append(events.file_truncated(file.path, file.position, file.size))
        file.start_over()
        self._rotated.add(file.first_path)
        if known is not None:
            self._memory.remember(known)
            self._opened.append(known)
        elif lost_bytes:
            self._events.append(events.bytes_lost(file.path, None, file.position, lost_bytes))
        return True

    def _read(self, file: OpenFile) -> Chunk | None:
        # A write may announce a truncation: looked at before every read, or new lines would pass for old ones.
        self._start_over_if_replaced(file)
        chunk = file.read_chunk()
        if chunk is None and self._start_over_if_replaced(file):
            chunk = file.read_chunk()
        if isinstance(file, GzippedFile) and file.refuted:
            self._give_back(file)
        return chunk

    def _give_back(self, file: GzippedFile) -> None:
        """It is not what it was taken for: both are looked at again."""
        known = file.known
        assert known is not None
        self._search.refute(file.key, known)
        self._memory.remember(known)
        self._rotated.add(file.first_path)
        self._search_wanted = True
        self._close(file)

    def _supersede(self, file: OpenFile) -> None:
        """It was rotated away: what is left in it comes before what is in its successor."""
        self._events.append(events.file_rotated(file.path, max(0, file.size - file.position)))
        self._ready.pop(file, None)
        file.superseded = True
        self._ready_first[file] = None

    def _restore(self, file: OpenFile) -> None:
        """It came back to its place."""
        file.superseded = False
        if self._ready_first.pop(file, file) is None:
            self._ready[file] = None

    def _mark_ready(self, file: OpenFile) -> None:
        (self._ready_first if file.superseded else self._ready)[file] = None

    def _complain_of(self, path: str, error: OSError) -> None:
        """A file that vanished between two looks is no fault."""
        if not isinstance(error, FileNotFoundError):
            self._unreadable[_printable(path)] = _unreadable(error)
            self._complain(events.file_unreadable(_printable(path), f"{error.strerror}; it is tried again"))

    def _complain(self, event: FileEvent) -> None:
        """Tell a state when it begins, and again only after it was over."""
        told = self._complaints.setdefault(event.path, set())
        if (text := f"{event.name} {event.details}") not in told:
            told.add(text)
            self._events.append(event)

    def _withdraw_complaints(self, path: str) -> None:
        self._complaints.pop(path, None)


def _matches(pattern: str) -> list[str]:
    return sorted(glob(pattern, recursive=True))


def _refusal(path: str, mode: int) -> str | None:
    """Why a path is not followed; None when it is."""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return None if path == _printable(path) else "its name is no UTF-8"


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _unreadable(error: OSError) -> str:
    return f"unreadable: {error.strerror}"
