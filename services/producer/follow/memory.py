"""The contents that were followed and are not open now, and how late each path was seen to be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from services.producer.chunk import MAX_REMEMBERED_FILES, KnownFile
from services.producer.follow.identity import begins_alike, hash_head
from services.producer.follow.open_file import MAX_OPEN_FILES
from services.producer.follow.tailed_file import holds


class Memory:
    """What was known last is asked first."""

    def __init__(self, known: Iterable[KnownFile]) -> None:
        self._files: dict[str, KnownFile] = {}
        self._by_inode: dict[int, dict[str, None]] = {}
        self._by_head: dict[tuple[int, str], dict[str, None]] = {}
        self._taken: dict[int, dict[str, None]] = {}  # the generations of an inode that are open, or were
        self._written_ns: dict[str, int] = {}
        for file in known:
            self._add(file)

    def __iter__(self) -> Iterator[KnownFile]:
        return iter(self._files.values())

    def on_inode(self, inode: int, head: bytes, descriptor: int) -> KnownFile | None:
        """The content that an open file with this inode and these first bytes still holds. Raises OSError."""
        for known in self._of(self._by_inode.get(inode)):
            if begins_alike(known.identity, head) and holds(descriptor, known):
                return known
        return None

    def beginning_with(self, head: bytes) -> list[KnownFile]:
        """The contents that begin as these bytes do (HEAD_BYTES of them, or the whole content)."""
        lengths = {length for length, _hash in self._by_head if length <= len(head)}
        return [
            known for length in lengths for known in self._of(self._by_head.get((length, hash_head(head[:length]))))
        ]

    def replaced_at(self, path: str, inode: int) -> KnownFile | None:
        """The content that was at this path on this inode."""
        return next((known for known in self._of(self._by_inode.get(inode)) if known.identity.path == path), None)

    def generations_on(self, inode: int) -> dict[str, None]:
        """Those that are known of this inode, so that the next one gets a name of its own."""
        return {**self._by_inode.get(inode, {}), **self._taken.get(inode, {})}

    def remember(self, file: KnownFile) -> None:
        """It is not open any more."""
        if len(self._files) < MAX_REMEMBERED_FILES:
            self._add(file)

    def take(self, known: KnownFile) -> None:
        """It is open now."""
        generation, identity = known.identity.generation, known.identity
        self._taken.setdefault(identity.inode, {})[generation] = None
        if len(self._taken) > MAX_OPEN_FILES + MAX_REMEMBERED_FILES:
            del self._taken[next(iter(self._taken))]
        del self._files[generation]
        _discard(self._by_inode, identity.inode, generation)
        _discard(self._by_head, (identity.head_bytes, identity.head_hash), generation)

    def note_written(self, path: str, modified_ns: int) -> None:
        """What this path holds, or held, was modified then."""
        self._written_ns[path] = max(modified_ns, self._written_ns.pop(path, 0))
        if len(self._written_ns) > MAX_OPEN_FILES + MAX_REMEMBERED_FILES:
            del self._written_ns[next(iter(self._written_ns))]

    def written_ns(self, path: str) -> int | None:
        """When the newest content that was seen of this path was last seen to be modified; None: not known."""
        return self._written_ns.get(path)

    def _add(self, file: KnownFile) -> None:
        identity = file.identity
        if identity.generation in self._files:
            self.take(self._files[identity.generation])
        self._taken.get(identity.inode, {}).pop(identity.generation, None)
        self._files[identity.generation] = file
        self._by_inode.setdefault(identity.inode, {})[identity.generation] = None
        self._by_head.setdefault((identity.head_bytes, identity.head_hash), {})[identity.generation] = None
        if file.seen is not None:
            self.note_written(identity.path, file.seen.modified_ns)

    def _of(self, generations: dict[str, None] | None) -> list[KnownFile]:
        return [self._files[generation] for generation in reversed(generations or {})]


_Index = TypeVar("_Index")


def _discard(index: dict[_Index, dict[str, None]], key: _Index, generation: str) -> None:
    del index[key][generation]
    if not index[key]:
        del index[key]
