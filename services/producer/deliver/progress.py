"""How far each file is confirmed. Pure; the only owner of that knowledge."""

from __future__ import annotations

from collections.abc import Iterable

from services.producer.chunk import MAX_REMEMBERED_FILES, Chunk, FileIdentity, KnownFile
from shared.watermark import Watermark


class Progress:
    """The contiguous confirmed prefix per file generation. Forgets the files that were confirmed longest ago."""

    def __init__(self, known: Iterable[KnownFile]) -> None:
        self._files: dict[str, tuple[FileIdentity, Watermark]] = {}
        self._floors: dict[str, KnownFile] = {}
        self.changes = 0  # grows with every position that moved
        for file in known:
            self.open(file)

    def open(self, file: KnownFile) -> None:
        """A file is read from this position on."""
        generation = file.identity.generation
        if generation not in self._files:
            self._files[generation] = (file.identity, Watermark(file.position))
            self.changes += 1

    def raise_floors(self, files: Iterable[KnownFile]) -> None:
        """What another host or an earlier run has confirmed is confirmed, though this run may read it again."""
        for file in files:
            known = self._floors.get(file.identity.generation)
            if known is None or file.position > known.position:
                self._floors[file.identity.generation] = file
                self.changes += 1

    def begin(self, chunk: Chunk) -> None:
        """A chunk was read; everything before it was read too."""
        known = self._files.pop(chunk.file.generation, None)
        if known is None:
            self.changes += 1
        watermark = known[1] if known else Watermark(chunk.start)
        self._files[chunk.file.generation] = (chunk.file, watermark)
        if len(self._files) > MAX_REMEMBERED_FILES:
            del self._files[next(iter(self._files))]

    def confirm(self, chunk: Chunk) -> None:
        """Every record and reject of the chunk is confirmed."""
        watermark = self._files[chunk.file.generation][1]
        if watermark.finish(chunk.start, chunk.end):
            self.changes += 1

    def snapshot(self) -> list[KnownFile]:
        """What may be remembered across a restart, the least recently read file first."""
        files = {generation: file for generation, file in self._floors.items() if generation not in self._files}
        for generation, (identity, watermark) in self._files.items():
            floor = self._floors.get(generation)
            files[generation] = (
                floor if floor and floor.position > watermark.position else KnownFile(identity, watermark.position)
            )
        return list(files.values())[-MAX_REMEMBERED_FILES:]
