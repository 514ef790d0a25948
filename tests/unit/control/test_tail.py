"""Following files that others write and rotate."""

from __future__ import annotations

from pathlib import Path

from compose.control.tail import FilesOutput, FileTail, last_lines


def test_only_new_complete_lines_are_read(tmp_path: Path) -> None:
    """What was there is skipped, a line without its end waits."""
    path = tmp_path / "a.log"
    path.write_text("old\n")
    tail = FileTail(path)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert list(tail.read()) == ["one"]
        file.write("o\n")
        file.flush()
        assert list(tail.read()) == ["two"]
    tail.close()


def test_a_rotated_file_is_read_to_its_end_first(tmp_path: Path) -> None:
    """Nothing is lost between the old file and the new one."""
    path = tmp_path / "a.log"
    path.write_text("")
    tail = FileTail(path)
    path.write_text("last of the old\n")
    path.rename(tmp_path / "a.log.1")
    path.write_text("first of the new\n")
    assert list(tail.read()) == ["last of the old", "first of the new"]
    tail.close()


def test_a_file_that_comes_later_is_read_from_its_start(tmp_path: Path) -> None:
    """A replica that is started after the output was opened."""
    output = FilesOutput(lambda: {path.stem: path for path in tmp_path.glob("*.log")})
    (tmp_path / "b.log").write_text("x needle\ny\n")
    assert output.matching("needle") == ["x needle"]
    assert output.matching("needle") == ["x needle"]


def test_the_last_lines_of_nothing_are_none(tmp_path: Path) -> None:
    """A process that never spoke."""
    assert last_lines(tmp_path / "none", 3) == []
