"""How far each file is confirmed. Pure; the only owner of that knowledge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from services.producer.chunk import MAX_REMEMBERED_FILES, Chunk, FileIdentity, KnownFile, Seen, Tail
from shared.watermark import Watermark


@dataclass(slots=True)
class _FileProgress:
    """One generation. `tails` are those at the ends of chunks that were confirmed before an earlier one."""

    identity: FileIdentity
    watermark: Watermark
    tail: Tail | None
    seen: Seen | None
    tails: dict[int, Tail | None] = field(default_factory=dict)

    @property
    def known(self) -> KnownFile:
        return KnownFile(self.identity, self.watermark.position, self.tail, self.seen)

    def confirm(self, chunk: Chunk) -> bool:
        """Whether the position moved; then the tail moved with it."""
        self.tails[chunk.end] = chunk.tail
        if not self.watermark.finish(chunk.start, chunk.end):
            return False
        position = self.watermark.position
        self.tail = self.tails[position]
        self.tails = {end: tail for end, tail in self.tails.items() if end > position}
        return True


class Progress:
    """The contiguous confirmed prefix per file generation. Forgets files that were read long ago, if not open."""

    def __init__(self, known: Iterable[KnownFile]) -> None:
        self._files: dict[str, _FileProgress] = {}
        self._floors: dict[str, KnownFile] = {}
        self._held: frozenset[str] = frozenset()
        self.changes = 0  # grows with everything that a checkpoint should hold
        for file in known:
            self.open(file)

    def open(self, file: KnownFile) -> None:
        """A file is read from this position on, or was looked at again; the confirmed position stays what it is."""
        known = self._files.get(file.identity.generation)
        if known is None:
            self._files[file.identity.generation] = _FileProgress(
                file.identity, Watermark(file.position), file.tail, file.seen
            )
            self.changes += 1
        elif file.seen is not None and file.seen != known.seen:
            known.seen = file.seen
            self.changes += 1

    def hold(self, generations: Iterable[str]) -> None:
        """These are open: they are not forgotten, however long nothing was read of them."""
        self._held = frozenset(generations)

    def raise_floors(self, files: Iterable[KnownFile]) -> None:
        """What another host or an earlier run has confirmed is confirmed, though this run may read it again."""
        for file in files:
            known = self._floors.get(file.identity.generation)
            if known is None or file.position > known.position:
                self._floors.pop(file.identity.generation, None)
                self._floors[file.identity.generation] = file
                self.changes += 1
        while len(self._floors) > MAX_REMEMBERED_FILES:
            del self._floors[next(iter(self._floors))]

    def begin(self, chunk: Chunk) -> None:
        """A chunk was read; everything before it was read too."""
        known = self._files.pop(chunk.file.generation, None)
        if known is None:
            known = _FileProgress(chunk.file, Watermark(chunk.start), None, None)
            self.changes += 1
        known.identity = chunk.file
        known.seen = chunk.seen or known.seen
        self._files[chunk.file.generation] = known
        if len(self._files) > MAX_REMEMBERED_FILES:
            self._forget_one()

    def _forget_one(self) -> None:
        forgotten = next((generation for generation in self._files if generation not in self._held), None)
        if forgotten is not None:
            del self._files[forgotten]

    def confirm(self, chunk: Chunk) -> None:
        """Every record and reject of the chunk is confirmed."""
        if self._files[chunk.file.generation].confirm(chunk):
            self.changes += 1

    def position_of(self, generation: str) -> int | None:
        """The first byte of a file that this run has not confirmed; None for one that is not known."""
        known = self._files.get(generation)
        return known.watermark.position if known else None

    def snapshot(self) -> list[KnownFile]:
        """What may be remembered across a restart, the least recently read file first."""
        others = [file for generation, file in self._floors.items() if generation not in self._files]
        room = max(0, MAX_REMEMBERED_FILES - len(self._files))
        files = others[len(others) - min(room, len(others)) :]
        for generation, progress in self._files.items():
            file, floor = progress.known, self._floors.get(generation)
            if floor is not None and floor.position > file.position:
                file = replace(floor, seen=file.seen or floor.seen)
            files.append(file)
        return files
