"""Random programs of writing, rotating, truncating, deleting and restarting, against a model of what must come out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from services.producer.chunk import ChunkKind, KnownFile
from services.producer.follow import Follower
from services.producer.follow.tailed_file import ReadLimits, TailedFile

LIMITS = ReadLimits(chunk_bytes=64, max_line_bytes=128, excerpt_bytes=16, max_lines=3)
RETIRE_AFTER_S = 30.0


class FollowedFolder(RuleBasedStateMachine):
    """Two logs in one folder. Every line has a number, so that one that is missing or doubled shows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
        self.number = 0
        self.written: list[bytes] = []
        self.half: dict[str, bytes] = {}
        self.read: list[bytes] = []
        self.places: Counter[tuple[str, int]] = Counter()
        self.positions: dict[str, KnownFile] = {}
        self.rotations: Counter[str] = Counter()
        self.follower: Follower | None = None
        self.known_inodes: set[int] = set()  # of the files that had a whole line when the follower stopped
        self.start()

    def start(self) -> None:
        self.follower = Follower(
            [str(self.folder / "*access.log")],
            known=self.positions.values(),
            start_at_end=(),
            limits=LIMITS,
            retire_after_s=RETIRE_AFTER_S,
        )

    def line(self, padding: int) -> bytes:
        self.number += 1
        return b"%06d" % self.number + b"." * padding

    names = st.sampled_from(["a_access.log", "b_access.log"])
    paddings = st.integers(0, 200)

    @rule(name=names, count=st.integers(1, 8), padding=paddings)
    def write(self, name: str, count: int, padding: int) -> None:
        lines = [self.line(padding) for _ in range(count)]
        first = self.half.pop(name, b"")
        with (self.folder / name).open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
        self.written += [first + lines[0], *lines[1:]]

    @rule(name=names, padding=paddings)
    def write_half_a_line(self, name: str, padding: int) -> None:
        half = self.line(padding)
        with (self.folder / name).open("ab") as file:
            file.write(half)
        self.half[name] = self.half.pop(name, b"") + half

    @rule(name=names)
    def rotate(self, name: str) -> None:
        """By rename. A file that came and went while nobody followed cannot be known."""
        path = self.folder / name
        if not path.exists():
            return
        if self.follower is not None:
            self.look()
        elif path.stat().st_ino not in self.known_inodes:
            return
        self.known_inodes.discard(path.stat().st_ino)
        self.rotations[name] += 1
        path.rename(self.folder / f"{name}.{self.rotations[name]}")
        self.finish_half(name)

    @precondition(lambda self: self.follower is not None)
    @rule(name=names)
    def truncate_what_was_read(self, name: str) -> None:
        """What is read before a truncation is safe; its half line is lost with it, which no follower can help."""
        if (self.folder / name).exists():
            self.drain()
            os.truncate(self.folder / name, 0)
            self.half.pop(name, None)
            self.look()

    @precondition(lambda self: self.follower is not None)
    @rule(name=names)
    def delete(self, name: str) -> None:
        """An open file outlives its name."""
        if (self.folder / name).exists():
            self.look()
            (self.folder / name).unlink()
            self.finish_half(name)
            self.drain()

    @precondition(lambda self: self.follower is not None)
    @rule()
    def stop(self) -> None:
        """All that was read is taken for confirmed; retired half lines have been handed out before."""
        assert self.follower is not None
        self.retire()
        self.let_go()

    @precondition(lambda self: self.follower is not None)
    @rule()
    def stop_in_the_middle(self) -> None:
        """Whatever was not read is read by the next one, from where the files lie then.

        Not what is in no folder any more, and no half line of a rotated file that never had a whole one: read first.
        """
        assert self.follower is not None
        self.look()
        if any(file.retired_at is not None and self.cannot_be_found(file) for file in self.follower.files):
            self.retire()
        self.let_go()

    def cannot_be_found(self, file: TailedFile) -> bool:
        return file.identity is None or os.fstat(file.descriptor).st_nlink == 0

    def let_go(self) -> None:
        assert self.follower is not None
        self.known_inodes = {file.inode for file in self.follower.files if file.identity is not None}
        self.follower.close()
        self.follower = None

    @precondition(lambda self: self.follower is None)
    @rule()
    def start_again(self) -> None:
        self.start()

    @precondition(lambda self: self.follower is not None)
    @rule()
    def drain(self) -> None:
        """Look and read everything, as the pipeline does."""
        self.look()
        assert self.follower is not None
        while (chunk := self.follower.next_chunk(self.now)) is not None or self.follower.has_more:
            if chunk is None:
                continue
            self.positions[chunk.file.generation] = KnownFile(chunk.file, chunk.end)
            self.places[(chunk.file.generation, chunk.start)] += 1
            if chunk.kind is ChunkKind.LINES:
                self.read += chunk.data.splitlines()
            else:
                self.read.append(self.whole_line(chunk.data))

    def whole_line(self, excerpt: bytes) -> bytes:
        """The line that was handed out as an excerpt, by its number."""
        return next(line for line in self.written if line.startswith(excerpt[:6]))

    def retire(self) -> None:
        self.drain()
        self.now += RETIRE_AFTER_S + 1
        self.drain()
        self.drain()

    def look(self) -> None:
        assert self.follower is not None
        self.now += 1
        self.follower.scan(self.now)
        for opened in self.follower.take_opened():
            self.positions.setdefault(opened.identity.generation, opened)

    def finish_half(self, name: str) -> None:
        """Nobody will write the rest: the half counts as a line."""
        if half := self.half.pop(name, b""):
            self.written.append(half)

    def teardown(self) -> None:
        if self.follower is None:
            self.start()
        self.retire()
        assert self.follower is not None
        self.follower.close()
        shutil.rmtree(self.folder)
        assert sorted(self.read) == sorted(self.written)
        assert max(self.places.values(), default=1) == 1


FollowedFolder.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestFollowedFolder = FollowedFolder.TestCase
