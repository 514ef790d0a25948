"""Looking for what moved while nobody looked: renamed, copied, compressed, or made and rotated away meanwhile."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import PurePath
from stat import S_ISREG

from services.producer.chunk import MAX_REMEMBERED_FILES, FileIdentity, KnownFile, Seen
from services.producer.follow.gzipped_file import GZIP_MAGIC, gzipped_head, stated_bytes
from services.producer.follow.identity import HEAD_BYTES, TAIL_BYTES, begins_alike, rotated_from
from services.producer.follow.memory import Memory
from services.producer.follow.open_file import OpenFile
from services.producer.follow.tailed_file import holds

_NS_PER_S = 1_000_000_000

Key = tuple[int, int]


def open_to_read(path: str) -> int:
    """A descriptor; a FIFO does not block it. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


@dataclass(frozen=True)
class Find:
    """An open file that is to be read: `known` is what was read of its content, None where nothing was."""

    descriptor: int
    path: str
    first_path: str
    modified_ns: int
    is_gzip: bool
    known: KnownFile | None


@dataclass
class Result:
    """What a look into one folder gave. `unreadable`: paths whose content could not be looked at, and why.

    `is_undecided`: some file can be judged only when another one was read further.
    """

    finds: list[Find] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)
    is_undecided: bool = False


@dataclass(frozen=True)
class _Look:
    wanted: Set[KnownFile]
    rotated: Collection[str]
    again: bool


@dataclass(frozen=True)
class _Candidate:
    descriptor: int
    path: str
    name: str
    key: Key
    seen: Seen
    head: bytes
    is_gzip: bool


@dataclass(frozen=True)
class _Judgement:
    """Of a file as it was `seen`. `is_recognised`: its content was read, or is being read from a `reader`."""

    seen: Seen
    is_recognised: bool
    reader: tuple[Key, str] | None = None  # the open file that holds the same, and its generation then


class Search:
    """Decides for each file of a folder that is not open whether something of it is to be read."""

    def __init__(self, memory: Memory, opened: Mapping[Key, OpenFile]) -> None:
        self._memory = memory
        self._opened = opened
        self._judged: dict[Key, _Judgement] = {}
        self._refuted: set[tuple[Key, str]] = set()

    def is_recognised(self, path: str, key: Key) -> bool:
        """Whether this file is one whose content was read, or is being read, from here or elsewhere."""
        return key in self._opened or _has_original(path) or (key in self._judged and self._judged[key].is_recognised)

    def is_judged(self, key: Key, seen: Seen) -> bool:
        """Whether nothing new is to be found out about it."""
        if key in self._opened:
            return True
        judgement = self._judged.get(key)
        return judgement is not None and judgement.seen == seen and self._has_reader_still(judgement)

    def _has_reader_still(self, judgement: _Judgement) -> bool:
        """Not when the file that held the same was truncated since: it may not have been read to its end."""
        if judgement.reader is None:
            return True
        key, generation = judgement.reader
        file = self._opened.get(key)
        return file is None or (file.identity is not None and file.identity.generation == generation)

    def settle(self, descriptor: int) -> None:
        """This open file was read to its end; there is nothing in it as long as it is as it is now."""
        status = os.fstat(descriptor)
        self._judged[status.st_dev, status.st_ino] = _Judgement(Seen(status.st_size, status.st_mtime_ns), True)

    def refute(self, key: Key, known: KnownFile) -> None:
        """It begins as this content does and is another one."""
        self._refuted.add((key, known.identity.generation))
        self._judged.pop(key, None)

    def look_into(
        self, folder: str, wanted: Set[KnownFile], bases: Collection[str], rotated: Collection[str], *, again: bool
    ) -> Result:
        """What is in this folder of the `wanted` contents, and what came after them.

        `bases`: names that are followed in it; `rotated`: those of them whose file is not in its place any more.
        `again`: a known file is opened only when it has grown.
        """
        result = Result()
        if len(self._judged) > MAX_REMEMBERED_FILES:
            self._judged.clear()
            self._refuted.clear()
        look = _Look(wanted, rotated, again)
        inodes = {known.identity.inode for known in wanted}
        for path, name in self._listed(folder, inodes, bases, result):
            try:
                descriptor = open_to_read(path)
            except OSError as error:
                result.unreadable.append((path, error))
                continue
            find = None
            try:
                find = self._judge(self._candidate(descriptor, path, name), look, result)
            except OSError as error:
                result.unreadable.append((path, error))
            finally:
                if find is None:
                    os.close(descriptor)
            if find is not None:
                result.finds.append(find)
                if find.known is not None:
                    self._memory.take(find.known)
        return result

    def is_copy(self, descriptor: int, path: str, names: Mapping[str, Collection[str]]) -> bool:
        """Whether a file with a rotated name holds the beginning of what is followed under one of the `names`."""
        folder, name = os.path.split(path)
        if rotated_from(name, names.get(folder, ())) is None:
            return False
        candidate = self._candidate(descriptor, path, name)
        if not candidate.head or self._held_by(candidate, None):
            return True  # a copy that is being made is empty at first
        return self._reader_of(candidate) is not None or self._is_of_a_truncated(candidate)

    def _listed(
        self, folder: str, inodes: Collection[int], bases: Collection[str], result: Result
    ) -> list[tuple[str, str]]:
        """Path and name of what may be of interest, in the order of its last modification."""
        listed: list[tuple[int, str, str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not (name.endswith(".gz") or entry.inode() in inodes or rotated_from(name, bases)):
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # it was renamed at this moment
                        result.is_undecided = True
                        continue
                    seen = Seen(status.st_size, status.st_mtime_ns)
                    is_judged = self.is_judged((status.st_dev, status.st_ino), seen) or _has_original(entry.path)
                    if S_ISREG(status.st_mode) and not is_judged:
                        listed.append((status.st_mtime_ns, entry.path, name))
        except FileNotFoundError:
            return []  # the folder is gone
        except OSError as error:
            result.unreadable.append((folder, error))
        return [(path, name) for _modified, path, name in sorted(listed)]

    def _judge(self, candidate: _Candidate, look: _Look, result: Result) -> Find | None:
        if candidate.key in self._opened or not candidate.head:
            return None
        if (known := self._renamed(candidate)) is not None:
            may_read = known in look.wanted and self._is_longer(candidate, known, look.again)
            return self._find(candidate, known) if may_read else None
        return self._judge_unknown(candidate, look, result)

    def _renamed(self, candidate: _Candidate) -> KnownFile | None:
        """The content that is remembered of this very file."""
        if candidate.is_gzip:
            return None
        return self._memory.on_inode(candidate.key[1], candidate.head, candidate.descriptor)

    def _judge_unknown(self, candidate: _Candidate, look: _Look, result: Result) -> Find | None:
        """What is to be read of a copy, a gzip, or a file that came and was rotated meanwhile."""
        held = self._held_by(candidate, look.wanted)
        for known in held:
            if self._is_longer(candidate, known, True):
                return self._find(candidate, known)
        reader = None if held else self._reader_of(candidate)
        if self._is_undecided(candidate, result.finds) or self._is_of_a_truncated(candidate):
            result.is_undecided = True
            return None
        if held or reader is not None:
            self._judged[candidate.key] = _Judgement(candidate.seen, True, reader)
            return None
        if (first_path := self._came_after(candidate, look.rotated)) is not None:
            modified_ns = candidate.seen.modified_ns
            return Find(candidate.descriptor, candidate.path, first_path, modified_ns, candidate.is_gzip, None)
        self._judged[candidate.key] = _Judgement(candidate.seen, False)
        return None

    def _came_after(self, candidate: _Candidate, rotated: Collection[str]) -> str | None:
        """The path that the candidate lay at, when it was modified after the newest content seen there."""
        base = rotated_from(candidate.name, rotated)
        if base is None:
            return None
        first_path = str(PurePath(candidate.path).with_name(base))
        written_ns = self._memory.written_ns(first_path)
        return first_path if written_ns is not None and candidate.seen.modified_ns > written_ns else None

    def _candidate(self, descriptor: int, path: str, name: str) -> _Candidate:
        status = os.fstat(descriptor)
        head = os.pread(descriptor, HEAD_BYTES, 0)
        is_gzip = head.startswith(GZIP_MAGIC)
        if is_gzip:
            head = gzipped_head(descriptor)
        seen = Seen(status.st_size, status.st_mtime_ns)
        return _Candidate(descriptor, path, name, (status.st_dev, status.st_ino), seen, head, is_gzip)

    def _held_by(self, candidate: _Candidate, wanted: Set[KnownFile] | None) -> list[KnownFile]:
        """The wanted contents (None: any) that the candidate holds a copy of, if it may hold one."""
        found = []
        for known in self._memory.beginning_with(candidate.head):
            is_wanted = wanted is None or known in wanted
            if not is_wanted or (candidate.key, known.identity.generation) in self._refuted:
                continue
            # A copy is not older than what was seen; some programs keep whole seconds only.
            if known.seen is not None and candidate.seen.modified_ns // _NS_PER_S < known.seen.modified_ns // _NS_PER_S:
                continue
            is_sibling = rotated_from(candidate.name, [PurePath(known.identity.path).name]) is not None
            if candidate.is_gzip or (is_sibling and holds(candidate.descriptor, known)):
                found.append(known)
        return found

    def _is_longer(self, candidate: _Candidate, known: KnownFile, again: bool) -> bool:
        """Whether there may be something behind the position."""
        if candidate.is_gzip:
            return stated_bytes(candidate.descriptor) != known.position % 2**32 or known.unread_bytes > 0
        return not again or candidate.seen.size > known.position

    def _reader_of(self, candidate: _Candidate) -> tuple[Key, str] | None:
        """The open file that holds the same from its beginning on, and at least as much; and its generation."""
        for key, file in self._opened.items():
            if file.identity is not None and _may_begin_alike(file.identity, candidate.head):
                generation = file.identity.generation
                if self._covers(file, candidate):
                    return key, generation
        return None

    def _is_undecided(self, candidate: _Candidate, finds: Collection[Find]) -> bool:
        """Whether it begins as a content that is looked for in a gzip, and that may not be there."""
        looked_for = [find.known.identity for find in finds if find.known is not None and find.is_gzip]
        looked_for += [file.identity for file in self._opened.values() if file.is_looked_for and file.identity]
        return any(begins_alike(identity, candidate.head) for identity in looked_for)

    def _is_of_a_truncated(self, candidate: _Candidate) -> bool:
        """Whether it may begin as an open file did that was truncated after the last look at it.

        Asked after which file holds the same: what is truncated between the two questions is not overlooked.
        """
        return any(
            file.identity is not None and _may_begin_alike(file.identity, candidate.head) and file.has_been_replaced()
            for file in self._opened.values()
        )

    def _covers(self, file: OpenFile, candidate: _Candidate) -> bool:
        if candidate.is_gzip:
            # Who compresses keeps the time of the last modification.
            same_time = candidate.seen.modified_ns // _NS_PER_S == file.seen.modified_ns // _NS_PER_S
            return same_time and file.head()[: len(candidate.head)] == candidate.head
        end = candidate.seen.size
        start = max(0, end - TAIL_BYTES)
        return os.pread(candidate.descriptor, end - start, start) == os.pread(file.descriptor, end - start, start)

    def _find(self, candidate: _Candidate, known: KnownFile) -> Find:
        if self._memory.written_ns(known.identity.path) is None:
            self._memory.note_written(known.identity.path, candidate.seen.modified_ns)
        return Find(
            candidate.descriptor,
            candidate.path,
            known.identity.path,
            candidate.seen.modified_ns,
            candidate.is_gzip,
            known,
        )


def _may_begin_alike(known: FileIdentity, head: bytes) -> bool:
    """Whether a file begins as the known one, or is shorter than what is known: a copy that is being made is."""
    return begins_alike(known, head) or len(head) < known.head_bytes


def _has_original(path: str) -> bool:
    """Whether this is a gzip beside the file that it is made of: then it is being made, or of no interest."""
    return path.endswith(".gz") and os.path.lexists(path[: -len(".gz")])


def folders_of(paths: Iterable[str]) -> dict[str, set[str]]:
    """The folders in which files of these paths may lie, each with the names that they have there."""
    names: dict[str, set[str]] = {}
    for path in paths:
        add_name(names, path)
    return names


def add_name(names: dict[str, set[str]], path: str) -> None:
    """What `folders_of` holds of one path: where it is, and where it leads to if it is a link."""
    for place in (path, os.path.realpath(path)) if os.path.islink(path) else (path,):  # noqa: PTH114 -- for thousands
        folder, name = os.path.split(place)
        names.setdefault(folder, set()).add(name)
