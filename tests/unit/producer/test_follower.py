"""Following real files: rotation, truncation, half lines, long lines, odd files, restarts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from services.producer.chunk import ChunkKind
from services.producer.deliver.progress import Progress
from services.producer.follow import Follower
from services.producer.follow.identity import new_patterns
from services.producer.follow.open_file import ReadLimits
from tests.unit.producer.tail import LIMITS, Tail


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Tail]:
    tail = Tail(tmp_path)
    yield tail
    tail.follower.close()


def test_lines_come_whole_and_once(tail: Tail) -> None:
    """What has no newline yet waits for it."""
    tail.append(b"one\ntw")
    assert tail.lines() == [b"one"]
    assert tail.lines() == []
    tail.append(b"o\nthree\n")
    assert tail.lines() == [b"two", b"three"]


def test_chunks_adjoin_and_name_their_place(tail: Tail) -> None:
    """Start and end are byte offsets of one generation, without a gap."""
    tail.append(b"".join(b"line %d\n" % number for number in range(40)))
    chunks = tail.chunks()
    assert len(chunks) > 5
    assert chunks[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(chunks))
    assert chunks[-1].end == tail.log.stat().st_size
    assert len({chunk.file.generation for chunk in chunks}) == 1


def test_a_chunk_of_tiny_lines_is_bounded(tail: Tail) -> None:
    """Else one read of newlines would become a quarter of a million records."""
    tail.append(b"\n" * 50)
    assert all(chunk.data.count(b"\n") <= LIMITS.max_lines for chunk in tail.chunks())


def test_a_renamed_file_is_finished_before_its_successor(tail: Tail) -> None:
    """Also what a process that still holds it writes after the rename."""
    tail.append(b"old 1\n")
    assert tail.lines() == [b"old 1"]
    with tail.log.open("ab") as stale_writer:
        stale_writer.write(b"old 2\n")
        stale_writer.flush()
        tail.log.rename(tail.folder / "access.log.1")
        tail.append(b"new 1\n")
        assert tail.lines() == [b"old 2", b"new 1"]
        stale_writer.write(b"old 3\n")
        stale_writer.flush()
        assert tail.lines() == [b"old 3"]
    assert "file_rotated" in tail.events()


def test_a_rotated_file_is_let_go_when_nothing_comes_any_more(tail: Tail) -> None:
    """Its half line is handed out as such, not lost; nothing comes twice."""
    tail.append(b"one\nhalf")
    assert tail.lines() == [b"one"]
    tail.log.rename(tail.folder / "access.log.1")
    assert tail.lines() == []
    (chunk,) = tail.chunks(advance_s=31) + tail.chunks()
    assert (chunk.kind, chunk.data, chunk.start, chunk.end) == (ChunkKind.UNTERMINATED, b"half", 4, 8)
    assert list(tail.follower.files) == []
    assert "file_finished" in tail.events()


def test_a_backlog_in_a_rotated_file_is_read_before_it_is_let_go(tail: Tail) -> None:
    """However long it takes until somebody reads it: the broker may be away."""
    tail.append(b"".join(b"line %d\n" % number for number in range(100)))
    tail.follower.scan(1.0)
    tail.log.rename(tail.folder / "access.log.1")
    tail.follower.scan(2.0)
    tail.follower.scan(1000.0)
    tail.now = 1000.0
    assert len(tail.lines()) == 100


def test_a_file_moved_away_and_back_is_not_read_again(tail: Tail) -> None:
    """Neither while it is open nor after it was let go."""
    tail.append(b"one\n")
    assert tail.lines() == [b"one"]
    for wait_s in (1.0, 31.0):
        tail.log.rename(tail.folder / "elsewhere")
        assert tail.lines(wait_s) + tail.lines(wait_s) == []
        (tail.folder / "elsewhere").rename(tail.log)
        tail.append(b"more\n")
        assert tail.lines() == [b"more"]


def test_a_rotated_name_that_matches_is_the_same_file(tmp_path: Path) -> None:
    """`*access*` finds access.log.1 too; it keeps its generation and its first name."""
    tail = Tail(tmp_path, "access*")
    tail.append(b"one\n")
    first = tail.chunks()[0]
    tail.log.rename(tmp_path / "access.log.1")
    tail.append(b"two\n", "access.log.1")
    tail.append(b"three\n")
    second, third = tail.chunks()
    assert second.file.generation == first.file.generation
    assert second.file.path == str(tail.log)
    assert third.file.generation != first.file.generation
    tail.follower.close()


def test_truncation_starts_a_new_generation(tail: Tail) -> None:
    """Even when the file begins as it did before: the offsets are used again."""
    tail.append(b"same first line\nold\n")
    first = tail.chunks()[0]
    os.truncate(tail.log, 0)
    tail.append(b"same first line\n")
    (second,) = tail.chunks()
    assert second.start == 0
    assert second.file.generation != first.file.generation
    assert "file_truncated" in tail.events()


def test_truncated_and_regrown_beyond_the_old_position(tail: Tail) -> None:
    """The size does not tell; the first bytes do."""
    tail.append(b"a: one\n")
    tail.lines()
    os.truncate(tail.log, 0)
    tail.append(b"b: one\nb: two\nb: three\n")
    assert tail.lines() == [b"b: one", b"b: two", b"b: three"]


@pytest.mark.parametrize("padding", [0, 3000])
def test_a_truncation_is_seen_before_the_new_lines_are_read(tail: Tail, padding: int) -> None:
    """A write announces itself at once, the next look may be a second away: new lines must not pass for old ones."""
    tail.append(b"a: one\n" + b"p" * padding + b"\n")
    (first, *_rest) = tail.chunks()
    os.truncate(tail.log, 0)
    tail.append(b"b: one\nb: two\n" + b"q" * padding + b"\n")
    assert tail.follower.notice(str(tail.log))
    chunks = tail.read()
    assert chunks[0].start == 0
    assert chunks[0].data.startswith(b"b: one\nb: two\n")
    assert chunks[0].file.generation != first.file.generation


def test_files_rotated_one_after_the_other_are_read_one_after_the_other(tail: Tail) -> None:
    """Also when each holds more than one read: a client's lines stay in their order."""
    for rotation in range(2):
        tail.append(b"".join(b"%d-%02d\n" % (rotation, number) for number in range(40)))
        tail.follower.scan(float(rotation))
        tail.log.rename(tail.folder / f"access.log.{rotation}")
        tail.follower.scan(rotation + 0.5)
    tail.append(b"2-00\n")
    lines = tail.lines()
    assert len(lines) == 81
    assert lines == sorted(lines)


def test_files_rotated_while_stopped_are_read_the_oldest_first(tail: Tail) -> None:
    """logrotate gives the oldest one the highest number."""
    for name in ("access.log", "access2.log"):
        tail.append(name.encode() + b"\n", name)
    tail.lines()
    tail.follower.close()
    tail.append(b"oldest\n", "access.log")
    tail.append(b"newer\n", "access2.log")
    os.utime(tail.log, (1000, 1000))
    tail.log.rename(tail.folder / "access.log.2")
    (tail.folder / "access2.log").rename(tail.folder / "access.log.1")
    tail.start()
    assert tail.lines() == [b"oldest", b"newer"]


def test_a_file_is_known_before_anything_of_it_was_read(tail: Tail) -> None:
    """The broker is away, the process is stopped, the file is rotated: a restart must still find it."""
    tail.append(b"one\n")
    tail.look()
    tail.follower.close()
    tail.log.rename(tail.folder / "access.log.1")
    tail.append(b"two\n")
    tail.start()
    assert tail.lines() == [b"one", b"two"]


def test_of_two_contents_with_one_beginning_the_last_is_taken_up(tail: Tail) -> None:
    """Truncated, and the same first line again: a restart goes on in the later generation."""
    tail.append(b"same\n")
    tail.lines()
    os.truncate(tail.log, 0)
    tail.lines()
    tail.append(b"same\nnew\n")
    assert tail.lines() == [b"same", b"new"]
    tail.restart()
    assert tail.lines() == []


def test_the_search_for_the_end_of_a_line_goes_in_bounded_steps(tail: Tail) -> None:
    """A copytruncate leaves files of gigabytes of nothing; signals and heartbeats must get their turn."""
    tail.append(b"x" * (10 * LIMITS.max_line_bytes))
    tail.follower.scan(1.0)
    steps = 0
    while tail.follower.next_chunk(1.0) is None and tail.follower.has_more:
        steps += 1
    assert steps >= 8


def test_a_file_that_fails_is_told_and_the_others_go_on(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk fault or a stale handle of a network file system in the middle of a look."""
    tail.append(b"one\n")
    tail.lines()
    tail.events()
    real_fstat = os.fstat

    def fail(descriptor: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("services.producer.follow.tailed_file.os.fstat", fail)
    assert tail.follower.notice(str(tail.log))
    assert tail.read() == []
    assert tail.lines() == []
    assert tail.events() == ["file_unreadable"]
    monkeypatch.setattr("services.producer.follow.tailed_file.os.fstat", real_fstat)
    tail.append(b"two\n")
    assert tail.lines() == [b"two"]


def test_a_long_half_line_that_is_truncated_away_hides_nothing(tail: Tail) -> None:
    """The search for its newline had gone further than the new content reaches."""
    tail.append(b"x" * 100)
    assert tail.chunks() == []
    os.truncate(tail.log, 0)
    assert tail.chunks() == []
    line = b"y" * 70
    tail.append(line + b"\n")
    assert tail.lines() == [line]


def test_a_long_line_comes_whole_up_to_the_limit(tail: Tail) -> None:
    """Several reads long, and still one line."""
    line = b"x" * LIMITS.max_line_bytes
    tail.append(line)
    assert tail.chunks() == []
    tail.append(b"\nnext\n")
    assert tail.lines() == [line, b"next"]


@pytest.mark.parametrize("length", [LIMITS.max_line_bytes + 1, 100_000])
def test_a_line_over_the_limit_is_cut_and_passed(tail: Tail, length: int) -> None:
    """Its place and length are told; memory holds an excerpt; the lines around it are untouched."""
    tail.append(b"before\n" + b"x" * length)
    assert tail.lines() == [b"before"]
    tail.append(b"\nafter\n")
    long_chunk, after = tail.chunks()
    assert (long_chunk.kind, long_chunk.data) == (ChunkKind.TOO_LONG, b"x" * LIMITS.excerpt_bytes)
    assert (long_chunk.start, long_chunk.end) == (7, 7 + length + 1)
    assert after.data == b"after\n"


def test_no_chunk_of_whole_lines_holds_one_that_is_too_long() -> None:
    """Also when the limit is below the usual size of a read."""
    assert ReadLimits.for_lines(1024).chunk_bytes == 1025
    assert ReadLimits.for_lines(16 * 1024 * 1024).chunk_bytes == 1024 * 1024


def test_several_files_take_turns(tail: Tail) -> None:
    """A file with a backlog does not starve the others."""
    tail.append(b"".join(b"a%d\n" % number for number in range(200)), "a_access.log")
    tail.append(b"b\n", "b_access.log")
    lines = tail.lines()
    assert lines.index(b"b") < 60
    assert len(lines) == 201


def test_the_same_file_by_two_names_is_read_once(tail: Tail) -> None:
    """Hard links and symbolic links."""
    tail.append(b"one\n")
    os.link(tail.log, tail.folder / "b_access.log")
    (tail.folder / "c_access.log").symlink_to(tail.log)
    assert tail.lines() == [b"one"]


def test_what_is_no_log_is_refused_once_with_a_reason(tail: Tail) -> None:
    """A FIFO would block, a folder cannot be read, a compressed file is no text."""
    os.mkfifo(tail.folder / "fifo_access.log")
    (tail.folder / "folder_access.log").mkdir()
    (tail.folder / "zip_access.log").write_bytes(b"\x1f\x8b\x08 compressed")
    tail.append(b"one\n")
    assert tail.lines() == [b"one"]
    assert tail.events().count("file_refused") == 3
    assert tail.lines() == []
    assert tail.events() == []


def test_nothing_to_follow_is_said_once_and_tried_again(tail: Tail) -> None:
    """The folder may come later, with the web server."""
    assert tail.lines() + tail.lines() == []
    assert tail.events() == ["no_files"]
    tail.append(b"one\n")
    assert tail.lines() == [b"one"]
    tail.log.unlink()
    tail.lines(31)
    tail.lines(31)
    assert "no_files" in tail.events()


def test_an_unreadable_file_is_said_once_and_tried_again(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads everything, so the refusal comes from a patched system call."""
    tail.append(b"one\n")
    real_open = os.open

    def refuse(path: str, flags: int, *arguments: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("services.producer.follow.follower.os.open", refuse)
    assert tail.lines() + tail.lines() == []
    assert tail.events() == ["file_unreadable"]
    monkeypatch.setattr("services.producer.follow.follower.os.open", real_open)
    assert tail.lines() == [b"one"]


def test_a_restart_goes_on_where_it_stopped(tail: Tail) -> None:
    """Half a line before, the other half after: one line."""
    tail.append(b"one\ntw")
    assert tail.lines() == [b"one"]
    tail.restart()
    tail.append(b"o\n")
    assert tail.lines() == [b"two"]


def test_a_file_rotated_while_stopped_is_finished_first(tail: Tail) -> None:
    """It is found by its inode, though no pattern matches it any more."""
    tail.append(b"one\n")
    tail.lines()
    tail.follower.close()
    tail.append(b"two\n")
    tail.log.rename(tail.folder / "access.log.1")
    tail.append(b"three\n")
    tail.start()
    assert tail.lines() == [b"two", b"three"]


def test_a_file_that_is_not_wanted_any_more_is_left_alone(tail: Tail) -> None:
    """Its pattern was taken out of LOG_FILES: it was not rotated."""
    tail.append(b"one\n")
    tail.lines()
    tail.follower.close()
    tail.append(b"two\n")
    tail.pattern = str(tail.folder / "other*.log")
    tail.start()
    assert tail.lines() == []
    assert tail.events() == ["no_files"]


def test_another_file_on_the_same_inode_is_read_from_its_beginning(tail: Tail) -> None:
    """An inode is used again after a deletion: the first bytes tell. Its generation is its own."""
    tail.append(b"old content\n")
    first = tail.chunks()[0]
    tail.follower.close()
    tail.log.write_bytes(b"new content, and longer\n")  # truncates: the same inode
    tail.start()
    (second,) = tail.chunks()
    assert (second.start, second.data) == (0, b"new content, and longer\n")
    assert second.file.generation != first.file.generation


def test_a_file_shorter_than_the_checkpoint_is_read_from_its_beginning(tail: Tail) -> None:
    """Truncated while stopped, with the same first line; a position beyond the end would skip lines silently."""
    tail.append(b"same\n")
    tail.append(b"x" * 40 + b"\n")
    first = tail.chunks()[0]
    tail.follower.close()
    os.truncate(tail.log, 5)
    tail.start()
    (second,) = tail.chunks()
    assert (second.start, second.data) == (0, b"same\n")
    assert second.file.generation != first.file.generation


def test_start_at_the_end_skips_whole_lines_only(tail: Tail) -> None:
    """The line that is being written is not cut; files that come later are read from their beginning."""
    tail.append(b"old 1\nold 2\nhal")
    tail.start(at_end=True)
    assert tail.lines() == []
    tail.append(b"f\nnew\n")
    tail.append(b"later\n", "later_access.log")
    assert sorted(tail.lines()) == [b"half", b"later", b"new"]


def test_start_at_the_end_does_not_skip_what_another_pattern_reads(tail: Tail) -> None:
    """A pattern that was followed before keeps its files, whatever is added beside it."""
    tail.append(b"old\n")
    tail.append(b"old too\n", "b_access.log")
    follower = Follower(
        [str(tail.log), tail.pattern], known=[], start_at_end=[tail.pattern], limits=LIMITS, retire_after_s=30
    )
    follower.scan(1.0)
    chunk = follower.next_chunk(1.0)
    assert chunk is not None
    assert chunk.data == b"old\n"
    assert follower.next_chunk(1.0) is None
    follower.close()


def test_a_pattern_is_new_when_it_or_its_folder_is() -> None:
    """A folder that was not there yet makes no pattern new; else what was written meanwhile would be skipped."""
    assert new_patterns({"a": 1, "b": 2}, {}) == {"a", "b"}
    assert new_patterns({"a": 1, "b": 2}, {"a": 1, "b": 3}) == {"b"}
    assert new_patterns({"a": 1, "b": None}, {"a": None, "b": None}) == set()


def test_start_at_the_end_is_remembered_before_the_first_line(tail: Tail) -> None:
    """A restart before anything was written must not skip what is written meanwhile."""
    tail.append(b"old\n")
    tail.start(at_end=True)
    assert tail.lines() == []
    tail.restart()
    tail.append(b"new\n")
    assert tail.lines() == [b"new"]


def test_a_generation_does_not_depend_on_what_else_was_seen(tail: Tail, tmp_path: Path) -> None:
    """A start that missed a truncation gives the same name as the run that saw it: else its lines would come twice."""
    tail.append(b"a\n")
    tail.chunks()
    missed = tail.progress.snapshot()
    for first_line in (b"b\n", b"c\n"):
        os.truncate(tail.log, 0)
        tail.append(first_line)
        (chunk,) = tail.chunks()
    tail.stop()
    tail.progress = Progress(missed)
    tail.start()
    (again,) = tail.chunks()
    assert again.data == b"c\n"
    assert again.file.generation == chunk.file.generation


def test_each_content_with_the_same_first_line_has_a_name_of_its_own(tail: Tail) -> None:
    """Also after restarts in between: offsets of one must not pass for offsets of another."""
    generations: list[str] = []
    for number in range(4):
        os.truncate(tail.log, 0) if number else None
        tail.append(b"same\n" + b"%d\n" % number)
        generations += {chunk.file.generation for chunk in tail.chunks()}
        if number == 1:
            tail.restart()
    assert len(set(generations)) == 4
