"""`python -m services.producer.formats`: what it says of files, and the settings that name formats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.producer.formats import main, read_sample
from services.producer.settings import ProducerSettings
from shared.errors import InvalidSettings
from shared.runtime.settings import load_settings
from tests.unit.producer.lines import COMBINED

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOG_FORMAT", "LOG_FILES", "NGINX_CONF"):
        monkeypatch.delenv(name, raising=False)


def log(folder: Path, *lines: bytes, name: str = "access.log") -> Path:
    path = folder / name
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_a_file_of_records_is_counted_by_the_way_of_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0: every line is a record."""
    path = log(tmp_path, COMBINED, COMBINED.replace(b"/a?", rb"/\xC3\xBC?"), b"")
    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "2 looked at" in said
    assert "1 blank" in said
    assert "100.00%: 1 in the fast way, 1 in the general way; 0 lines are none" in said


def test_lines_that_do_not_fit_are_shown_with_reason_and_column_and_what_would_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that steer a terminal are escaped; a built-in format that takes more is named."""
    monkeypatch.setenv("LOG_FORMAT", '$remote_addr "$request" $status $msec')
    path = log(tmp_path, COMBINED, COMBINED + b"\x1b[31m", COMBINED)
    assert main([str(path)]) == 1
    said = capsys.readouterr().out
    assert """column 10: ' "' is expected, ' - - [17/May""" in said
    assert "LOG_FORMAT=auto would take 66.67% of the same lines." in said
    assert "\x1b" not in said
    assert "\\x1b[31m" in said


def test_of_a_long_line_the_beginning_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A screen has room for the others too."""
    assert main([str(log(tmp_path, b"x" * 3_000))]) == 1
    assert max(len(each) for each in capsys.readouterr().out.splitlines() if "xxx" in each) <= 140


def test_the_format_comes_from_nginxs_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place of the access_log that says so."""
    path = log(tmp_path, b"1431857103.120 200")
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"http {{\n log_format short '$msec $status';\n access_log {path} short;\n}}\n")
    monkeypatch.setenv("NGINX_CONF", str(conf))
    monkeypatch.setenv("LOG_FILES", str(tmp_path / "*.log"))
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "format   short" in said
    assert f"access_log {path} short ({conf}:3)" in said


def test_what_is_no_log_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder, a pipe, a compressed file, a missing one; each with its sentence, and the others are looked at."""
    os.mkfifo(tmp_path / "pipe.log")
    paths = [tmp_path, tmp_path / "pipe.log", tmp_path / "missing.log", tmp_path / "a.gz", log(tmp_path, COMBINED)]
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08")
    assert main([str(path) for path in paths]) == 1
    said = capsys.readouterr().out
    for sentence in ("no regular file", "No such file", "is compressed", "100.00%"):
        assert sentence in said


def test_of_a_long_file_the_first_and_the_last_lines_are_read(tmp_path: Path) -> None:
    """With the bytes where they begin; the half line at the end is nobody's yet."""
    path = log(tmp_path, *(b"%06d" % number for number in range(10_000)))
    with path.open("ab") as file:
        file.write(b"half")
    size, [(first_start, first), (last_start, last)] = read_sample(str(path), 5)
    assert (size, first_start, first) == (70_004, 0, b"000000\n000001\n000002\n")
    assert (last_start, last) == (69_986, b"009998\n009999\n")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("combind", "LOG_FORMAT='combind' is not allowed: it is none of auto, common, combined, main"),
        ("$msec $status$request", "column 14: $request follows $status with nothing in between"),
    ],
)
def test_a_wrong_log_format_is_refused_with_what_is_allowed(
    value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started."""
    monkeypatch.setenv("LOG_FORMAT", value)
    with pytest.raises(InvalidSettings) as refused:
        load_settings(ProducerSettings)
    assert message in str(refused.value)


def test_a_configuration_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    """Exit code 2, with the file and the line."""
    conf = tmp_path / "nginx.conf"
    conf.write_text("http {\n log_format a 'x\n")
    surroundings = {"PATH": os.environ["PATH"], "CHECKPOINT_FILE": str(tmp_path / "checkpoint.json")}
    ended = subprocess.run(
        [sys.executable, "-m", "services.producer"],
        cwd=ROOT,
        env={**surroundings, "NGINX_CONF": str(conf), "HTTP_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert f"NGINX_CONF='{conf}' is not usable: {conf}:2: a quote that nothing closes" in ended.stdout + ended.stderr
