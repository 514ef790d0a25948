"""Random programs of all that happens to logs and to the producer, against a model of what must come out.

Every line has a number. The model keeps each content by itself: what was written to it, where it lies, and whether it
was destroyed. What a program destroys before it was read may be missing; everything else must come, in its place.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from services.producer.chunk import Chunk, ChunkKind
from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.progress import Progress
from services.producer.follow import Follower
from services.producer.follow.identity import HEAD_BYTES
from services.producer.follow.open_file import ReadLimits

LIMITS = ReadLimits(chunk_bytes=64, max_line_bytes=128, excerpt_bytes=16, max_lines=3)
RETIRE_AFTER_S = 30.0
# More first bytes than the fingerprint of a beginning has: contents that begin alike.
SAME_BEGINNING = b"".join(b"%03d the same in each file\n" % number for number in range(60))
NAMES = ("a_access.log", "b_access.log")


@dataclass(eq=False)
class Content:
    """What one file holds, or held. `path` is where it lies now; None: nowhere."""

    path: Path | None
    data: bytes = b""
    in_place: bool = True
    may_be_lost: bool = False  # bytes of it were destroyed, or nothing leads to it
    looked_at: bool = False
    seen_bytes: int = 0  # when a look last saw it, and could name it

    @property
    def has_a_name(self) -> bool:
        return b"\n" in self.data or len(self.data) >= HEAD_BYTES


class FollowedFolder(RuleBasedStateMachine):
    """Two logs in one folder, rotated in every way; a producer that confirms in any order, stops and dies."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = CheckpointStore(self.folder / "state" / "checkpoint.json")
        self.time_s = 4_000_000_000  # of the files: each change comes a minute after the one before
        self.now = self.number = self.rotations = 0
        self.contents: dict[str, Content] = {}
        self.all: list[Content] = []
        self.known_names: set[str] = set()  # a content of this name is in the checkpoint
        self.chunks: list[Chunk] = []
        self.unconfirmed: list[Chunk] = []
        self.next_bytes: dict[str, int] = {}  # per generation
        self.lost_bytes = 0
        self.told_twice = 0  # bytes that were lost for the follower and came to light again
        self.follower: Follower | None = None
        self.progress = Progress(())
        self.start_again()

    # The web server

    names = st.sampled_from(NAMES)
    paddings = st.integers(0, 200)

    def append(self, name: str, data: bytes) -> None:
        content = self.contents.get(name)
        if content is None:
            content = self.contents[name] = Content(self.folder / name)
            self.all.append(content)
        with (self.folder / name).open("ab") as file:
            file.write(data)
        content.data += data
        self.touch(self.folder / name)

    def touch(self, path: Path) -> None:
        self.time_s += 60
        os.utime(path, (self.time_s, self.time_s))

    def line(self, padding: int) -> bytes:
        self.number += 1
        return b"%06d" % self.number + b"." * padding

    @rule(name=names, count=st.integers(1, 8), padding=paddings)
    def write(self, name: str, count: int, padding: int) -> None:
        self.append(name, b"".join(self.line(padding) + b"\n" for _ in range(count)))

    @rule(name=names)
    def write_a_beginning_that_others_have(self, name: str) -> None:
        if name not in self.contents:
            self.append(name, SAME_BEGINNING + self.line(0) + b"\n")

    @rule(name=names, padding=paddings)
    def write_half_a_line(self, name: str, padding: int) -> None:
        self.append(name, self.line(padding))

    # The rotation

    def end(self, name: str, path: Path | None) -> Content:
        """The content is not in its place any more."""
        content = self.contents.pop(name)
        content.path, content.in_place = path, False
        if name not in self.known_names and not content.seen_bytes:
            content.may_be_lost = True  # nobody knew that there was such a file
        return content

    def see(self, name: str) -> None:
        """A file that comes and goes between two looks, and leaves none in its place, is not known."""
        if self.follower is not None and not self.contents[name].looked_at:
            self.look()

    def rotated_path(self, name: str, dated: bool) -> Path:
        self.rotations += 1
        return self.folder / (f"{name}-2026{self.rotations:04d}" if dated else f"{name}.{self.rotations}")

    @rule(name=names, dated=st.booleans())
    def rename(self, name: str, dated: bool) -> None:
        if name in self.contents:
            self.see(name)
            path = self.rotated_path(name, dated)
            (self.folder / name).rename(path)
            self.end(name, path)

    @rule(name=names, regrow=st.booleans())
    def copy_and_truncate(self, name: str, regrow: bool) -> None:
        if name not in self.contents:
            return
        self.see(name)
        copy = self.rotated_path(name, dated=False)
        shutil.copyfile(self.folder / name, copy)
        self.touch(copy)
        os.truncate(self.folder / name, 0)
        content = self.end(name, copy)
        if not content.has_a_name:
            self.told_twice += len(content.data)
        self.after_truncation(name, content, regrow)

    @rule(name=names, regrow=st.booleans())
    def truncate(self, name: str, regrow: bool) -> None:
        """What was not read is gone."""
        if name in self.contents:
            os.truncate(self.folder / name, 0)
            content = self.end(name, None)
            content.may_be_lost = True
            self.after_truncation(name, content, regrow)

    def after_truncation(self, name: str, content: Content, regrow: bool) -> None:
        """The same file goes on, maybe with more than it had, and with the same beginning.

        Where nothing but that beginning was confirmed, nobody could tell that it was truncated.
        """
        known = self.progress.snapshot()
        can_be_told = any(
            file.position > len(SAME_BEGINNING) and content.data.startswith(SAME_BEGINNING)
            for file in known
            if file.identity.path == str(self.folder / name)
        )
        first = SAME_BEGINNING if can_be_told else b""
        padding = max(0, len(content.data) - len(first)) if regrow else 0
        self.append(name, (first if regrow else b"") + self.line(padding) + b"\n")

    @rule(name=names)
    def delete(self, name: str) -> None:
        """An open file outlives its name."""
        if name not in self.contents:
            return
        if self.follower is not None:
            self.look()
        (self.folder / name).unlink()
        self.end(name, None).may_be_lost |= self.follower is None

    @rule(pick=st.integers(0, 3))
    def compress(self, pick: int) -> None:
        """As gzip does it: a new file with the old times, then the old one goes.

        Not what begins as others do: the gzips of such contents are told apart only when they are unpacked.
        """
        rotated = [content for content in self.all if not content.in_place and content.path is not None]
        own = [content for content in rotated if not content.data.startswith(SAME_BEGINNING)]
        plain = [content for content in own if content.path is not None and content.path.suffix != ".gz"]
        if plain:
            content = plain[pick % len(plain)]
            path = content.path
            assert path is not None
            status = path.stat()
            content.path = path.with_name(path.name + ".gz")
            content.path.write_bytes(gzip.compress(content.data))
            os.utime(content.path, ns=(status.st_atime_ns, status.st_mtime_ns))
            path.unlink()

    @rule()
    def delete_the_oldest(self) -> None:
        rotated = [content for content in self.all if not content.in_place and content.path is not None]
        if rotated and rotated[0].path is not None:
            rotated[0].path.unlink()
            rotated[0].path, rotated[0].may_be_lost = None, True

    # The producer

    @precondition(lambda self: self.follower is None)
    @rule()
    def start_again(self) -> None:
        """With what the checkpoint holds, and nothing else."""
        last_run = self.store.load()
        known = last_run.files if last_run else ()
        self.progress = Progress(known)
        self.next_bytes = {file.identity.generation: file.position for file in known}
        self.unconfirmed.clear()
        self.follower = Follower(
            [str(self.folder / "*access.log")],
            known=known,
            start_at_end=(),
            limits=LIMITS,
            retire_after_s=RETIRE_AFTER_S,
        )
        self.look()

    @precondition(lambda self: self.follower is not None)
    @rule()
    def stop(self) -> None:
        """What was read and not confirmed is sent again."""
        assert self.follower is not None
        self.look()
        self.follower.close()
        self.follower = None
        for content in self.all:
            if not content.in_place and (content.path is None or not content.has_a_name):
                content.may_be_lost = True  # its descriptor was the last thing that led to it

    @precondition(lambda self: self.follower is not None)
    @rule()
    def look(self) -> None:
        assert self.follower is not None
        self.now += 1
        self.follower.scan(self.now)
        for opened in self.follower.take_opened():
            self.progress.open(opened)
        self.lost_bytes += sum(event.lost_bytes for event in self.follower.take_events())
        self.store.save(Checkpoint(tuple(self.progress.snapshot())))
        for name, content in self.contents.items():
            content.looked_at = True
            if content.has_a_name:
                content.seen_bytes = len(content.data)
                self.known_names.add(name)

    @precondition(lambda self: self.follower is not None)
    @rule(count=st.integers(1, 12))
    def read(self, count: int) -> None:
        """Some chunks, as long as there are any."""
        assert self.follower is not None
        while count and ((chunk := self.follower.next_chunk(self.now)) is not None or self.follower.has_more):
            if chunk is not None:
                count -= 1
                self.take(chunk)

    def take(self, chunk: Chunk) -> None:
        """Ranges of one generation adjoin; nothing comes again that was confirmed before the last start."""
        assert chunk.start == self.next_bytes.get(chunk.file.generation, 0), chunk
        self.next_bytes[chunk.file.generation] = chunk.end
        self.progress.begin(chunk)
        self.chunks.append(chunk)
        self.unconfirmed.append(chunk)

    @rule(pick=st.integers(0, 5))
    def confirm(self, pick: int) -> None:
        """In any order."""
        if self.follower is not None and self.unconfirmed:
            self.progress.confirm(self.unconfirmed.pop(pick % len(self.unconfirmed)))

    @rule()
    def confirm_all(self) -> None:
        while self.follower is not None and self.unconfirmed:
            self.confirm(0)

    @precondition(lambda self: self.follower is not None)
    @rule()
    def wait(self) -> None:
        """Until rotated files are let go."""
        self.look()
        self.read(10_000)
        self.now += int(RETIRE_AFTER_S) + 1
        self.look()
        self.read(10_000)

    # What must have come

    def teardown(self) -> None:
        try:
            if self.follower is None:
                self.start_again()
            for _ in range(3):
                self.wait()
            self.confirm_all()
            self.check()
        finally:
            if self.follower is not None:
                self.follower.close()
            shutil.rmtree(self.folder)

    def check(self) -> None:
        by_generation: dict[str, list[Chunk]] = {}
        for chunk in self.chunks:
            by_generation.setdefault(chunk.file.generation, []).append(chunk)
        read: dict[Content, list[str]] = {}
        for generation, chunks in by_generation.items():
            holders = [content for content in self.all if all(holds(content, chunk) for chunk in chunks)]
            assert holders, f"{generation} is no content that there was"
            for content in holders if len(holders) == 1 else ():
                read.setdefault(content, []).append(generation)
        missing_bytes = 0
        for content in self.all:
            generations = read.get(content, [])
            assert len(generations) <= 1, f"{content} came twice"
            wanted = content.data.rfind(b"\n") + 1 if content.in_place else len(content.data)
            came = max((chunk.end for generation in generations for chunk in by_generation[generation]), default=0)
            assert came >= wanted or content.may_be_lost, f"{content} came up to {came}"
            missing_bytes += len(content.data) if content.may_be_lost else 0
        assert self.lost_bytes <= missing_bytes + self.told_twice


def holds(content: Content, chunk: Chunk) -> bool:
    if chunk.kind is ChunkKind.LINES:
        return content.data[chunk.start : chunk.end] == chunk.data
    return chunk.end <= len(content.data) and content.data[chunk.start :].startswith(chunk.data)


FollowedFolder.TestCase.settings = settings(max_examples=40, stateful_step_count=40, derandomize=True)
TestFollowedFolder = FollowedFolder.TestCase
