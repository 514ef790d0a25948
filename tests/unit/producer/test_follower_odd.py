"""Files that cannot be read, or not now: what is told, and what happens when they can be read again."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.producer.follow import Follower
from services.producer.follow.open_file import NOTHING_TO_READ, WAITS_FOR_NEWLINE, ReadLimits
from tests.unit.producer.tail import LIMITS, Tail

NOBODY = 65_534


@pytest.fixture
def tail() -> Iterator[Tail]:
    """In a folder that somebody without rights may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    tail = Tail(folder)
    yield tail
    tail.follower.close()
    shutil.rmtree(folder)


@contextmanager
def no_privileges() -> Iterator[None]:
    """Root reads everything: be somebody else meanwhile."""
    user = os.geteuid()
    os.seteuid(NOBODY if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("where", ["in its place", "rotated away"])
def test_a_file_that_may_not_be_read_while_stopped(tail: Tail, where: str) -> None:
    """It is told once, it is no loss, and it is read on as soon as it may be read."""
    tail.append(b"one\n")
    tail.lines()
    tail.append(b"two\n")
    tail.stop()
    path = tail.log
    if where == "rotated away":
        path = tail.log.rename(tail.folder / "access.log.1")
    path.chmod(0)
    tail.start()
    with no_privileges():
        assert tail.lines() + tail.lines() == []
        happened = tail.happened()
        assert [event.path for event in happened if event.name == "file_unreadable"] == [str(path)]
        assert not [event for event in happened if event.lost_bytes]
    path.chmod(0o644)
    assert tail.lines() + tail.lines() == [b"two"]


def test_an_open_file_outlives_its_permissions(tail: Tail) -> None:
    """Whoever has it open reads on."""
    tail.append(b"one\n")
    tail.log.chmod(0o644)
    with no_privileges():
        assert tail.lines() == [b"one"]
    tail.append(b"two\n")
    tail.log.chmod(0)
    with no_privileges():
        assert tail.lines() == [b"two"]


def test_more_files_than_may_be_open(tail: Tail) -> None:
    """Told once; the others are read as soon as there is room."""
    for number in range(5):
        tail.append(b"%d\n" % number, f"{number}_access.log")
    follower = Follower([tail.pattern], known=(), start_at_end=(), limits=LIMITS, retire_after_s=30, max_open_files=3)
    tail.follower.close()
    tail.follower = follower
    assert tail.lines() + tail.lines() == [b"0", b"1", b"2"]
    assert tail.events().count("too_many_files") == 1
    for number in (0, 1):
        (tail.folder / f"{number}_access.log").unlink()
    assert tail.lines() + tail.lines(31) + tail.lines(1) == [b"3", b"4"]


def test_why_a_file_does_not_move(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    """And since when: not since the last look, since it began."""
    tail.append(b"one\n")
    tail.lines()
    tail.lines()
    (file,) = tail.follower.files
    assert (file.blocked_reason, file.blocked_since) == (NOTHING_TO_READ, 1.0)
    tail.append(b"half")
    tail.lines()
    tail.lines()
    assert (file.blocked_reason, file.blocked_since) == (WAITS_FOR_NEWLINE, 3.0)

    def fail(descriptor: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("services.producer.follow.tailed_file.os.fstat", fail)
        tail.lines()
    assert (file.blocked_reason, file.blocked_since) == ("unreadable: Input/output error", 5.0)
    tail.append(b" line\n")
    assert tail.follower.notice(str(tail.log))
    assert tail.follower.next_chunk(7.0) is not None
    assert (file.blocked_reason, file.blocked_since) == (None, None)


def test_bytes_of_every_kind_come_as_they_are(tail: Tail) -> None:
    """NUL, CRLF, invalid UTF-8, empty lines."""
    content = b"\x00\x01\n\r\nwindows\r\n\xff\xfe\n\n\n\x1b[0m\n"
    tail.append(content)
    assert b"".join(chunk.data for chunk in tail.chunks()) == content


def test_a_line_of_ten_megabytes_is_passed_in_bounded_steps(tail: Tail) -> None:
    """With the limits of a running producer."""
    tail.follower.close()
    tail.follower = Follower(
        [tail.pattern], known=(), start_at_end=(), limits=ReadLimits.for_lines(1024 * 1024), retire_after_s=30
    )
    tail.append(b"x" * 10_000_000 + b"\nnext\n")
    long_line, following = tail.chunks()
    assert (long_line.end, len(long_line.data)) == (10_000_001, 64 * 1024)
    assert following.data == b"next\n"


def test_a_look_at_thousands_of_files_is_short(tail: Tail) -> None:
    """0.06 s for 5,000 files on the machine that this was written on; ten times that is a fault of the code."""
    for number in range(1_000):
        tail.append(b"%d\n" % number, f"{number}_access.log")
    assert len(tail.lines()) == 1_000
    started = time.process_time()
    tail.look()
    assert time.process_time() - started < 0.12
