"""A follower of real files, for the tests of following."""

from __future__ import annotations

from pathlib import Path

from services.producer.chunk import Chunk
from services.producer.deliver.progress import Progress
from services.producer.follow import FileEvent, Follower
from services.producer.follow.open_file import ReadLimits

LIMITS = ReadLimits(chunk_bytes=64, max_line_bytes=256, excerpt_bytes=32, max_lines=4)


class Tail:
    """A follower of a folder, and what it read; all of that is taken for confirmed."""

    def __init__(self, folder: Path, pattern: str = "*access*.log") -> None:
        self.folder = folder
        self.log = folder / "access.log"
        self.pattern = str(folder / pattern)
        self.now = 0.0
        self.progress = Progress(())
        self.follower: Follower
        self.start()

    def start(self, *, at_end: bool = False) -> None:
        self.follower = Follower(
            [self.pattern],
            known=self.progress.snapshot(),
            start_at_end=[self.pattern] if at_end else [],
            limits=LIMITS,
            retire_after_s=30,
        )

    def stop(self) -> None:
        self.look()
        self.follower.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def look(self, advance_s: float = 0.0) -> None:
        """A scan, as the pipeline does it."""
        self.now += advance_s
        self.follower.scan(self.now)
        for opened in self.follower.take_opened():
            self.progress.open(opened)

    def chunks(self, advance_s: float = 1.0) -> list[Chunk]:
        """Look and read everything that is there."""
        self.look(advance_s)
        return self.read()

    def read(self) -> list[Chunk]:
        """Read everything without a look at the folder, as after an announced write."""
        taken = []
        while (chunk := self.follower.next_chunk(self.now)) is not None or self.follower.has_more:
            if chunk is not None:
                self.progress.begin(chunk)
                self.progress.confirm(chunk)
                taken.append(chunk)
        return taken

    def lines(self, advance_s: float = 1.0) -> list[bytes]:
        return [line for chunk in self.chunks(advance_s) for line in chunk.data.splitlines()]

    def events(self) -> list[str]:
        return [event.name for event in self.happened()]

    def happened(self) -> list[FileEvent]:
        return self.follower.take_events()

    def lost_bytes(self) -> int:
        """What was told as lost since the last look at the events."""
        return sum(event.lost_bytes for event in self.happened())

    def append(self, text: bytes, name: str = "access.log") -> None:
        with (self.folder / name).open("ab") as file:
            file.write(text)
