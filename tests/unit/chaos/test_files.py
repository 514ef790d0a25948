"""The writer does to files what programs do, and the journal says what is in them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.chaos.files import LogFile, compress
from tests.chaos.journal import Journal
from tests.chaos.lines import numbered_line

RUN = "c0ffee"


@pytest.fixture
def journal() -> Journal:
    return Journal(RUN)


@pytest.fixture
def log(journal: Journal, tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "access.log", journal)


def at_its_place(path: Path, journal: Journal, number: int) -> bytes:
    start, length = journal.place_of(number)
    return path.read_bytes()[start : start + length + 1]


def test_a_line_stands_where_the_journal_says(journal: Journal, log: LogFile) -> None:
    """Also one that was written in halves."""
    log.write(10)
    text = log.begin_line(20)
    log.end_line(text, 20)
    log.write(5)
    assert [at_its_place(log.path, journal, number) for number in range(16)] == [
        numbered_line(RUN, number) for number in range(16)
    ]


def test_rotation_keeps_the_content_and_begins_another(journal: Journal, log: LogFile) -> None:
    """The old lines are in the renamed file."""
    log.write(3)
    rotated = log.path.with_name("access.log.1")
    log.rotate(rotated)
    [fourth] = log.write(1)
    assert at_its_place(rotated, journal, 2) == numbered_line(RUN, 2)
    assert at_its_place(log.path, journal, fourth) == numbered_line(RUN, fourth)
    assert journal.content_of(2) != journal.content_of(fourth)


def test_a_stale_writer_goes_on_in_the_old_content(journal: Journal, log: LogFile) -> None:
    """Both files are written in turn."""
    log.write(2)
    new = log.rotate_keeping_the_writer(log.path.with_name("access.log.1"))
    [in_new], [in_old] = new.write(1), log.write(1)
    assert journal.content_of(in_old) == journal.content_of(0) != journal.content_of(in_new)
    assert at_its_place(log.path, journal, in_old) == numbered_line(RUN, in_old)


def test_a_truncated_file_begins_at_byte_0_again(journal: Journal, log: LogFile) -> None:
    """On the same inode, as another content."""
    log.write(2)
    inode = log.inode
    log.copy_and_truncate(log.path.with_name("access.log.1"))
    [after] = log.write(1)
    assert log.inode == inode
    assert journal.place_of(after)[0] == 0
    assert journal.content_of(after) != journal.content_of(0)


def test_compression_keeps_the_bytes(log: LogFile) -> None:
    """And takes the plain file away."""
    log.write(2)
    before = log.path.read_bytes()
    packed = compress(log.path)
    assert gzip.decompress(packed.read_bytes()) == before
    assert not log.path.exists()
