"""Rotation, truncation and compression that nobody watched: what is read on, what is read whole, what is lost."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.producer.chunk import Chunk, ChunkKind, KnownFile
from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.progress import Progress
from services.producer.follow import Follower
from services.producer.follow.open_file import ReadLimits
from tests.unit.producer.tail import LIMITS, Tail

Step = Callable[[], None]
SAME_HEAD = b"".join(b"the same in both %03d\n" % number for number in range(200))


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Tail]:
    tail = Tail(tmp_path)
    yield tail
    tail.follower.close()


class Clock:
    """Gives files the times of a day on which each step takes a minute, as rotations do."""

    def __init__(self) -> None:
        self._time_s = 4_000_000_000  # after everything that the test itself writes

    def touch(self, *paths: Path) -> None:
        for path in paths:
            self._time_s += 60
            os.utime(path, (self._time_s, self._time_s))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def compress(path: Path) -> Path:
    """As gzip does it: a new file with the old times, then the old one goes."""
    status = path.stat()
    compressed = path.with_name(path.name + ".gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(compressed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return compressed


def copy_and_truncate(log: Path, copy: Path) -> None:
    shutil.copyfile(log, copy)
    os.truncate(log, 0)


def lines_of(chunks: list[Chunk]) -> list[bytes]:
    return [line for chunk in chunks for line in chunk.data.splitlines()]


# What is told apart


def test_the_same_first_bytes_on_the_same_inode_and_other_content(tail: Tail) -> None:
    """4 KiB alike: the bytes before the position tell, also after a restart."""
    tail.append(SAME_HEAD + b"old content\n")
    first = tail.chunks()[0]
    tail.stop()
    with tail.log.open("r+b") as file:
        file.truncate(0)
        file.write(SAME_HEAD + b"new content, and more of it\n")
    tail.start()
    chunks = tail.chunks()
    assert chunks[0].start == 0
    assert chunks[0].file.generation != first.file.generation
    assert lines_of(chunks)[-1] == b"new content, and more of it"
    assert "file_truncated" in tail.events()


@pytest.mark.parametrize("announced", [True, False])
def test_truncated_and_regrown_beyond_the_position_with_the_same_beginning(tail: Tail, announced: bool) -> None:
    """Between two looks. What had not been read is told as lost, at least what had been seen of it."""
    tail.append(SAME_HEAD + b"old\n")
    tail.lines()
    tail.append(b"seen and not read\n")
    tail.look()
    os.truncate(tail.log, 0)
    tail.append(SAME_HEAD + b"new and longer than what had been there\n")
    tail.happened()
    if announced:
        assert tail.follower.notice(str(tail.log))
        chunks = tail.read()
        tail.look()
    else:
        chunks = tail.chunks()
    assert chunks[0].start == 0
    assert lines_of(chunks)[-1] == b"new and longer than what had been there"
    assert tail.lost_bytes() == len(b"seen and not read\n")
    assert tail.lines() == []
    assert tail.lost_bytes() == 0


def test_replaced_by_as_many_other_bytes(tail: Tail) -> None:
    """Nothing grows and nothing shrinks; the look at the disk sees it."""
    tail.append(SAME_HEAD + b"old\n")
    tail.lines()
    tail.log.write_bytes(SAME_HEAD + b"new\n")
    assert tail.lines()[-1] == b"new"


def test_a_plain_truncation_tells_how_much_was_not_read(tail: Tail) -> None:
    """Half lines count."""
    tail.append(b"one\ntwo\nthr")
    tail.look()
    os.truncate(tail.log, 0)
    tail.look()
    (lost,) = [event for event in tail.happened() if event.name == "bytes_lost"]
    assert (lost.lost_bytes, lost.details["lost_bytes"], lost.details["position"]) == (11, 11, 0)


def test_a_file_without_a_whole_line_is_missed_too(tail: Tail) -> None:
    """It has no name yet."""
    tail.append(b"half")
    tail.look()
    os.truncate(tail.log, 0)
    tail.look()
    assert tail.lost_bytes() == 4


def test_a_first_line_that_is_not_whole_is_replaced(tail: Tail) -> None:
    """By more bytes than there were."""
    tail.append(b"half")
    tail.look()
    tail.log.write_bytes(b"another line\n")
    assert tail.lines() == [b"another line"]
    assert tail.lost_bytes() == 4


# copytruncate


def test_a_copy_holds_the_rest_of_what_was_truncated(tail: Tail) -> None:
    """`copytruncate` while the producer is behind: it reads on in the copy, in the same generation, without loss."""
    tail.append(b"one\n")
    (first,) = tail.chunks()
    tail.append(b"two\nthree\n")
    copy_and_truncate(tail.log, tail.folder / "access.log.1")
    tail.append(b"four\n")
    chunks = tail.chunks() + tail.chunks()
    assert sorted(lines_of(chunks)) == [b"four", b"three", b"two"]
    assert [(chunk.start, chunk.file.generation) for chunk in chunks if b"two" in chunk.data] == [
        (4, first.file.generation)
    ]
    assert tail.lines(31) + tail.lines(31) == []
    assert tail.lost_bytes() == 0


def test_a_copy_that_is_too_short_tells_what_is_lost(tail: Tail) -> None:
    """Written between the copy and the truncation: lost by nature, and counted as far as it was seen."""
    tail.append(b"one\n")
    tail.lines()
    tail.append(b"two\n")
    shutil.copyfile(tail.log, tail.folder / "access.log.1")
    tail.append(b"three\n")
    tail.look()
    os.truncate(tail.log, 0)
    assert tail.lines() + tail.lines() == [b"two"]
    assert tail.lines(31) + tail.lines(31) == []
    assert tail.lost_bytes() == 6


@pytest.mark.parametrize("pattern", ["access.log", "access.log*"])
def test_copytruncate_several_times_while_stopped(tmp_path: Path, clock: Clock, pattern: str) -> None:
    """The oldest copy is read on, the later ones are read whole, then the file; copies of what was read are none."""
    tail = Tail(tmp_path, pattern)
    tail.append(b"one\n")
    tail.lines()
    clock.touch(tail.log)
    tail.stop()
    tail.append(b"two\n")
    for number in range(3, 5):
        for old in range(3, 0, -1):
            if (tmp_path / f"access.log.{old}").exists():
                (tmp_path / f"access.log.{old}").rename(tmp_path / f"access.log.{old + 1}")
        copy_and_truncate(tail.log, tmp_path / "access.log.1")
        clock.touch(tmp_path / "access.log.1")
        tail.append(b"%d\n" % number)
    clock.touch(tail.log)
    tail.start()
    chunks = tail.chunks() + tail.chunks()
    assert sorted(lines_of(chunks)) == [b"3", b"4", b"two"]
    assert tail.lost_bytes() == 0
    tail.restart()
    assert tail.lines() == []
    tail.follower.close()


def test_a_copy_that_matches_is_not_read_again(tmp_path: Path) -> None:
    """Neither while the original is as long, nor after it was truncated."""
    tail = Tail(tmp_path, "access.log*")
    tail.append(b"one\ntwo\n")
    assert tail.lines() == [b"one", b"two"]
    shutil.copyfile(tail.log, tmp_path / "access.log.1")
    assert tail.lines() == []
    os.truncate(tail.log, 0)
    assert tail.lines() + tail.lines() == []
    tail.append(b"three\n")
    assert tail.lines() == [b"three"]
    tail.follower.close()


def test_a_copy_that_is_being_made_is_no_new_file(tmp_path: Path) -> None:
    """It is seen empty, in part, and whole."""
    tail = Tail(tmp_path, "access.log*")
    tail.append(b"one\ntwo\n")
    tail.lines()
    for part in (b"", b"one\n", b"two\n"):
        tail.append(part, "access.log.1")
        assert tail.lines() == []
    os.truncate(tail.log, 0)
    tail.append(b"three\n")
    assert tail.lines() + tail.lines() == [b"three"]
    tail.follower.close()


# Any moment


class AtSystemCalls:
    """Takes each step right before the system call of its number, of those that look into files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: dict[int, list[Step]]) -> None:
        self._steps = steps
        self._calls = 0
        for name in ("fstat", "pread", "open", "stat"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._calls += 1
            for step in self._steps.pop(self._calls, ()):
                step()
            return call(*arguments, **named)

        return counted


def steps_of_a_rotation(kind: str, log: Path, new_line: bytes) -> list[Step]:
    """What logrotate does one after the other. Only compressing, a last step, makes system calls that are counted."""
    rotated = log.with_name("access.log.1")

    def copy_some() -> None:
        rotated.write_bytes(log.read_bytes()[:6])

    def copy() -> None:
        rotated.write_bytes(log.read_bytes())

    def rename() -> None:
        log.rename(rotated)

    def write() -> None:
        log.write_bytes(new_line)

    def compress_renamed() -> None:
        compress(rotated)

    return {
        "copytruncate": [copy, write],
        "copytruncate slowly": [copy_some, copy, write],
        "create": [rename, write],
        "create, compress": [rename, write, compress_renamed],
    }[kind]


@pytest.mark.parametrize("new_line", [b"three\n", b"a longer line than all before together\n"])
@pytest.mark.parametrize("unread", [b"", b"unread\n"])
@pytest.mark.parametrize("pattern", ["access.log", "access.log*"])
@pytest.mark.parametrize("kind", ["copytruncate", "copytruncate slowly", "create", "create, compress"])
def test_a_rotation_between_any_system_calls_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pattern: str, unread: bytes, new_line: bytes
) -> None:
    """Its last two steps fall between any two of a look's system calls, or before the first (0)."""

    def rotates_at(*moments: int) -> bool:
        folder = tmp_path / "-".join(map(str, moments))
        folder.mkdir()
        tail = Tail(folder, pattern)
        tail.append(b"one\ntwo\n")
        assert tail.lines() == [b"one", b"two"]
        tail.append(unread)
        *before, second_last, last = steps_of_a_rotation(kind, tail.log, new_line)
        steps = {0: before}
        for moment, step in zip(moments, (second_last, last), strict=True):
            steps.setdefault(moment, []).append(step)
        for step in steps.pop(0):
            step()
        with monkeypatch.context() as patch:
            AtSystemCalls(patch, steps)
            lines = tail.lines()
        if steps:
            return False  # the look was over before
        for advance_s in (0, 0, 31, 31):
            lines += tail.lines(advance_s)
        assert sorted(lines) == sorted([*unread.splitlines(), new_line.strip()]), moments
        assert tail.lost_bytes() == 0
        tail.follower.close()
        return True

    rotations = len(list(itertools.takewhile(lambda last: rotates_at(0, last), itertools.count())))
    for wait in range(3):
        rotations += len(list(itertools.takewhile(lambda first: rotates_at(first, first + wait), itertools.count(1))))  # noqa: B023
    assert rotations >= 18


# gzip


@pytest.mark.parametrize("pattern", ["*access*.log", "access.log*"])
def test_a_file_compressed_while_stopped_is_read_on_inside(tmp_path: Path, pattern: str) -> None:
    """At the position, in the same generation; nothing is sent again, nobody complains."""
    tail = Tail(tmp_path, pattern)
    tail.append(SAME_HEAD)
    first = tail.chunks()[0]
    tail.stop()
    tail.append(b"rest 1\nrest 2\nhalf")
    tail.log.rename(tmp_path / "access.log.1")
    compress(tmp_path / "access.log.1")
    tail.append(b"new\n")
    tail.start()
    chunks = tail.chunks()
    assert lines_of(chunks) == [b"rest 1", b"rest 2", b"new"]
    assert (chunks[0].start, chunks[0].file) == (len(SAME_HEAD), chunks[-2].file)
    assert chunks[0].file.generation == first.file.generation
    half = tail.chunks(31) + tail.chunks(31)
    assert [(chunk.kind, chunk.data) for chunk in half] == [(ChunkKind.UNTERMINATED, b"half")]
    tail.restart()
    assert tail.lines() == []
    assert not {"file_refused", "bytes_lost", "file_damaged"} & set(tail.events())
    tail.follower.close()


def test_a_crash_in_the_middle_of_a_gzip_goes_on_there(tail: Tail) -> None:
    """What is confirmed is not sent again."""
    tail.append(b"one\n")
    tail.lines()
    tail.stop()
    tail.append(b"".join(b"rest %02d\n" % number for number in range(40)))
    tail.log.rename(tail.folder / "access.log.1")
    compress(tail.folder / "access.log.1")
    tail.start()
    tail.look()
    chunk = tail.follower.next_chunk(tail.now)
    while chunk is None:
        chunk = tail.follower.next_chunk(tail.now)
    tail.progress.begin(chunk)
    tail.progress.confirm(chunk)
    tail.follower.close()
    tail.start()
    assert chunk.data.splitlines() + tail.lines() == [b"rest %02d" % number for number in range(40)]


def test_a_gzip_that_begins_alike_is_not_taken_for_it(tail: Tail, clock: Clock) -> None:
    """The bytes before the position are compared when they are reached; then the right one is found."""
    tail.append(SAME_HEAD + b"ours\n")
    tail.lines()
    clock.touch(tail.log)
    tail.stop()
    (tail.folder / "another").write_bytes(SAME_HEAD + b"none\nof our lines\n")
    clock.touch(tail.folder / "another")
    compress(tail.folder / "another")
    tail.append(b"rest\n")
    tail.log.rename(tail.folder / "access.log.1")
    clock.touch(tail.folder / "access.log.1")
    compress(tail.folder / "access.log.1")
    tail.start()
    assert tail.lines() + tail.lines() == [b"rest"]
    assert not {"bytes_lost", "file_unreadable"} & set(tail.events())


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_gzip_that_was_cut_gives_what_it_has(tail: Tail, kept: float) -> None:
    """The disk was full. What was seen of the rest is told as lost."""
    tail.append(b"one\n")
    tail.lines()
    rest = b"".join(b"%d %s\n" % (number, os.urandom(20).hex().encode()) for number in range(2000))
    tail.append(rest)
    tail.stop()
    tail.log.rename(tail.folder / "access.log.1")
    compressed = compress(tail.folder / "access.log.1")
    os.truncate(compressed, int(compressed.stat().st_size * kept))
    tail.start()
    lines = tail.lines()
    assert lines == rest.splitlines()[: len(lines)]
    assert len(lines) > 2000 * kept * 0.9
    half = tail.chunks(31) + tail.chunks(31)
    happened = tail.happened()
    assert [event.details["reason"] for event in happened if event.name == "file_damaged"] == ["cut off"]
    read_bytes = len(b"".join(line + b"\n" for line in lines)) + sum(chunk.end - chunk.start for chunk in half)
    assert sum(event.lost_bytes for event in happened) == len(rest) - read_bytes


def test_a_damaged_gzip_gives_what_comes_before_the_damage(tail: Tail) -> None:
    """All but the last byte, which zlib keeps to itself. The end of the file states how much more there was."""
    tail.append(b"one\n")
    tail.lines()
    tail.stop()
    tail.log.unlink()
    stream = zlib.compressobj(wbits=31)
    good = b"one\n" + b"".join(b"%d %s\n" % (number, os.urandom(20).hex().encode()) for number in range(2000))
    whole = stream.compress(good) + stream.flush(zlib.Z_FULL_FLUSH)
    rest = bytearray(stream.compress(b"lost\n" * 100) + stream.flush())
    rest[0] = 0x07  # a kind of block that there is not
    (tail.folder / "access.log.1.gz").write_bytes(whole + rest)
    tail.start()
    chunks = tail.chunks() + tail.chunks(31) + tail.chunks(31)
    assert (
        b"".join(chunk.data for chunk in chunks if chunk.kind is ChunkKind.LINES)
        == good[4 : good[:-1].rfind(b"\n") + 1]
    )
    assert chunks[-1].end == len(good) - 1
    happened = tail.happened()
    assert "damaged" in str(next(event.details["reason"] for event in happened if event.name == "file_damaged"))
    assert sum(event.lost_bytes for event in happened) == 501


def test_a_gzip_of_several_members_and_padding_is_one_content(tail: Tail) -> None:
    """Some tools append to a gzip."""
    tail.append(b"one\n")
    tail.lines()
    tail.stop()
    tail.log.unlink()
    parts = [b"one\ntw", b"o\nthree\n", b"four\n"]
    (tail.folder / "access.log.1.gz").write_bytes(b"".join(map(gzip.compress, parts)) + b"\0" * 100)
    tail.start()
    assert tail.lines() == [b"two", b"three", b"four"]
    tail.chunks(31)
    tail.chunks(31)
    assert "file_damaged" not in tail.events()


def test_a_long_line_inside_a_gzip(tail: Tail) -> None:
    """Over the limit it is an excerpt with its length; at the limit it is whole."""
    tail.append(b"one\n")
    tail.lines()
    tail.stop()
    longest, too_long = b"y" * LIMITS.max_line_bytes, b"x" * 100_000
    tail.append(longest + b"\n" + too_long + b"\nlast\n")
    tail.log.rename(tail.folder / "access.log.1")
    compress(tail.folder / "access.log.1")
    tail.start()
    whole, excerpt, last = tail.chunks()
    assert whole.data == longest + b"\n"
    assert (excerpt.kind, excerpt.data) == (ChunkKind.TOO_LONG, b"x" * LIMITS.excerpt_bytes)
    assert (excerpt.start, excerpt.end) == (whole.end, whole.end + 100_001)
    assert (last.data, last.start) == (b"last\n", excerpt.end)


def test_the_way_to_the_position_in_a_gzip_goes_in_bounded_steps(tmp_path: Path) -> None:
    """A gigabyte that was sent before must not stop the heartbeat."""
    log = tmp_path / "access.log"
    log.write_bytes(b"first line\n" + b"n" * 999 + b"\n" + (b"z" * 999 + b"\n") * 20_000)
    progress = Progress(())
    limits = ReadLimits.for_lines(1024 * 1024)
    for rotated in (False, True):
        follower = Follower([str(log)], known=progress.snapshot(), start_at_end=(), limits=limits, retire_after_s=30)
        follower.scan(1.0)
        steps, taken = 0, 0
        while (chunk := follower.next_chunk(1.0)) is not None or follower.has_more:
            steps += chunk is None
            if chunk is not None:
                taken += chunk.end - chunk.start
                progress.begin(chunk)
                progress.confirm(chunk)
        if rotated:
            assert steps >= 5
            assert taken == len(b"more\n")
        else:
            with log.open("ab") as file:
                file.write(b"more\n")
            log.rename(tmp_path / "access.log.1")
            compress(tmp_path / "access.log.1")
        follower.close()


def test_compressed_while_it_is_followed(tmp_path: Path) -> None:
    """It is read to its end through the open descriptor, and the gzip is known for what it is."""
    tail = Tail(tmp_path, "access.log*")
    tail.append(b"one\n")
    tail.lines()
    tail.append(b"two\n")
    tail.log.rename(tmp_path / "access.log.1")
    compress(tmp_path / "access.log.1")
    tail.append(b"three\n")
    assert tail.lines() == [b"two", b"three"]
    tail.lines(31)
    assert tail.lines() == []
    assert not {"file_refused", "bytes_lost"} & set(tail.events())
    tail.restart()
    assert tail.lines() == []
    assert not {"file_refused", "bytes_lost"} & set(tail.events())
    tail.follower.close()


# Rotated more than once while nobody ran


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("first_is_gone", [False, True])
def test_several_rotations_while_stopped(
    tail: Tail, clock: Clock, compressed: bool, dated: bool, first_is_gone: bool
) -> None:
    """What came and went meanwhile is read whole, the oldest first; what is older than what was followed is not."""
    (tail.folder / "access.log.9").write_bytes(b"never followed\n")
    os.utime(tail.folder / "access.log.9", (1_000_000_000, 1_000_000_000))
    tail.append(b"0 read\n")
    assert tail.lines() == [b"0 read"]
    clock.touch(tail.log)
    tail.stop()
    for number in range(4):
        if number or not first_is_gone:
            tail.append(b"%d\n" % number)
        name = f"access.log-2026010{number}" if dated else f"access.log.{4 - number}"
        clock.touch(tail.log)
        tail.log.rename(tail.folder / name)
        if number == 0 and first_is_gone:
            (tail.folder / name).unlink()
        elif compressed:
            compress(tail.folder / name)
    tail.append(b"4\n")
    tail.start()
    expected = [b"1", b"2", b"3", b"4"] if first_is_gone else [b"0", b"1", b"2", b"3", b"4"]
    assert tail.lines() == expected
    assert tail.lost_bytes() == 0
    tail.chunks(31)
    tail.restart()
    assert tail.lines() == []
    assert tail.lost_bytes() == 0


def test_a_crash_before_what_was_found_is_confirmed(tail: Tail, clock: Clock) -> None:
    """The next start finds it again, in the same generation."""
    tail.append(b"0\n")
    tail.lines()
    clock.touch(tail.log)
    tail.stop()
    for number in (1, 2):
        tail.log.rename(tail.folder / f"access.log.{3 - number}")
        tail.append(b"%d\n" % number)
        clock.touch(tail.log)
    tail.start()
    tail.look()
    found = tail.follower.next_chunk(1.0)
    assert found is not None
    tail.follower.close()
    tail.start()
    (again, last) = tail.chunks()
    assert (again.data, again.file.generation) == (found.data, found.file.generation)
    assert last.data == b"2\n"


def test_nothing_is_searched_for_on_the_first_start(tail: Tail, clock: Clock) -> None:
    """Nobody asked for what lies beside the pattern."""
    tail.append(b"old\n", "access.log.1")
    clock.touch(tail.folder / "access.log.1")
    tail.append(b"new\n")
    assert tail.lines() == [b"new"]


def test_other_files_beside_the_log_are_left_alone(tail: Tail, clock: Clock) -> None:
    """As long as the log is in its place, and when their names are not the log's."""
    tail.append(b"one\n")
    tail.lines()
    clock.touch(tail.log)
    tail.stop()
    for name in ("access.log.bak", "access.logs", "other.log.1"):
        tail.append(b"no log\n", name)
    tail.start()
    assert tail.lines() == []
    tail.stop()
    (tail.folder / "access.log.bak").unlink()
    tail.log.rename(tail.folder / "access.log.1")
    tail.append(b"two\n")
    tail.start()
    assert tail.lines() == [b"two"]


def test_rotated_twice_between_two_looks(tail: Tail, clock: Clock) -> None:
    """A stopped process that comes back sees what a restart would see."""
    tail.append(b"one\n")
    clock.touch(tail.log)
    tail.lines()
    tail.lines()
    tail.log.rename(tail.folder / "access.log.2")
    tail.append(b"two\n", "access.log.1")
    clock.touch(tail.folder / "access.log.1")
    tail.append(b"three\n")
    assert tail.lines() + tail.lines() == [b"two", b"three"]


def test_a_link_that_leads_elsewhere_is_a_rotation(tail: Tail) -> None:
    """Also when it was switched while nobody ran: the old file lies in another folder."""
    elsewhere = tail.folder / "elsewhere"
    elsewhere.mkdir()
    tail.append(b"one\n", "elsewhere/1.txt")
    tail.log.symlink_to(elsewhere / "1.txt")
    assert tail.lines() == [b"one"]
    for number, stop in enumerate((False, True), 2):
        if stop:
            tail.stop()
        tail.append(b"late %d\n" % number, f"elsewhere/{number - 1}.txt")
        tail.append(b"new %d\n" % number, f"elsewhere/{number}.txt")
        tail.log.unlink()
        tail.log.symlink_to(elsewhere / f"{number}.txt")
        if stop:
            tail.start()
        assert tail.lines() == [b"late %d" % number, b"new %d" % number]


# What is gone


def test_a_file_that_is_gone_with_unread_bytes_is_told_once(tail: Tail) -> None:
    """Deleted while nobody ran. What was seen of it and not confirmed is lost."""
    tail.append(b"one\n")
    tail.lines()
    tail.append(b"two\nthree\n")
    tail.stop()
    tail.log.unlink()
    for expected in (10, 0):
        tail.start()
        tail.chunks()
        assert tail.lost_bytes() == expected
        tail.stop()


def test_a_file_that_was_read_and_is_gone_is_no_loss(tail: Tail) -> None:
    """Rotated, sent, deleted: the way of every log."""
    tail.append(b"one\n")
    tail.lines()
    tail.stop()
    tail.log.unlink()
    tail.start()
    tail.chunks()
    assert tail.events() == ["no_files"]


# The checkpoint


def test_a_checkpoint_of_the_first_form_still_serves(tail: Tail, tmp_path: Path) -> None:
    """Without fingerprints before the position, inode and first bytes decide, as they did."""
    tail.append(b"one\n")
    (chunk,) = tail.chunks()
    tail.stop()
    tail.progress = Progress([KnownFile(chunk.file, chunk.end)])
    tail.append(b"two\n")
    tail.log.rename(tail.folder / "access.log.1")
    tail.append(b"three\n")
    tail.start()
    assert tail.lines() == [b"two", b"three"]


def test_the_fingerprint_follows_the_confirmed_position(tail: Tail, tmp_path: Path) -> None:
    """Confirmations come in any order; the checkpoint holds the one of the position, not of the last chunk."""
    tail.append(b"".join(b"line %02d %s\n" % (number, b"." * 40) for number in range(4)))
    tail.follower.scan(1.0)
    chunks = [chunk for _ in range(4) if (chunk := tail.follower.next_chunk(1.0)) is not None]
    assert len(chunks) == 4
    progress = Progress(())
    for chunk in chunks:
        progress.begin(chunk)
    for number in (2, 1):
        progress.confirm(chunks[number])
        assert progress.snapshot()[0].tail is None
    progress.confirm(chunks[0])
    store = CheckpointStore(tmp_path / "state" / "checkpoint.json")
    store.save(Checkpoint(tuple(progress.snapshot())))
    last_run = store.load()
    assert last_run is not None
    (known,) = last_run.files
    assert (known.position, known.tail, known.seen) == (chunks[2].end, chunks[2].tail, chunks[3].seen)
    tail.follower.close()
    tail.progress = Progress(last_run.files)
    tail.start()
    assert tail.lines() == [chunks[3].data[:-1]]
