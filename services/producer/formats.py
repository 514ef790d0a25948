"""`python -m services.producer.formats`: what the producer would make of log files, without Kafka."""

from __future__ import annotations

import argparse
import glob
import os
import stat
import sys
from collections.abc import Sequence

from services.producer.nginx.choice import FormatChoice
from services.producer.parse.general_expression import shown
from services.producer.parse.trial import Trial, better_formats, try_format
from services.producer.settings import ProducerSettings
from shared.errors import InvalidSettings
from shared.runtime.settings import load_settings

DEFAULT_LINES = 20_000
MAX_LINES = 10_000_000
# Of each half of the sample, so that lines without end do not fill the memory.
MAX_PART_BYTES = 32 * 1024 * 1024
SHOWN_REJECTS = 5
SHOWN_LINE_BYTES = 120
GZIP_MAGIC = b"\x1f\x8b"
EXIT_REJECTS = 1
EXIT_SETTINGS = 2

DESCRIPTION = """
Says for each file which format the producer would use and why, which share of its lines becomes records, and what is
wrong with the others. Looks at the first and the last lines of a file; sends nothing. The exit code is 0 when every
line is a record, 1 when one is not or a file cannot be read, 2 when a setting is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at every file; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.producer.formats", description=DESCRIPTION)
    parser.add_argument("files", nargs="*", metavar="FILE", help="paths or patterns; by default those of LOG_FILES")
    parser.add_argument("--lines", type=_line_count, default=DEFAULT_LINES, help="lines of each file to look at")
    parsed = parser.parse_args(arguments)
    try:
        settings = load_settings(ProducerSettings)
        formats = settings.read_formats()
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return EXIT_SETTINGS
    for note in formats.notes:
        print(f"Note: {note}.")
    paths = _expand(parsed.files or settings.log_files)
    if not paths:
        print(f"No file is called {', '.join(parsed.files or settings.log_files)}.", file=sys.stderr)
        return EXIT_REJECTS
    failed = [path for path in paths if not _report_file(path, formats, parsed.lines)]
    return EXIT_REJECTS if failed else 0


def _line_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_LINES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_LINES}")
    return int(text)


def _expand(patterns: Sequence[str]) -> list[str]:
    """The files of the patterns; a path without a pattern also when nothing is there."""
    found: dict[str, None] = {}
    for pattern in map(os.path.abspath, patterns):
        found.update(
            dict.fromkeys(sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern])
        )
    return list(found)


def _report_file(path: str, formats: FormatChoice, line_count: int) -> bool:
    """Print what is to say of a file; whether all its lines are records."""
    print(ascii(path)[1:-1])
    chosen = formats.of_file(path)
    print(f"  format   {chosen.format.name}")
    print(f"  because  {chosen.reason}")
    try:
        size, parts = read_sample(path, line_count)
    except OSError as error:
        print(f"  The file cannot be read: {error.strerror}.")
        return False
    except NotALog as error:
        print(f"  {error}")
        return False
    trial = try_format(chosen.format, parts, path)
    _report_trial(trial, size, parts)
    if trial.rejects:
        _report_better(better_formats(trial, parts, path))
    return not trial.rejects


class NotALog(Exception):
    """The file holds no lines to look at; the message is a sentence."""


def read_sample(path: str, line_count: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Size of the file, and its first and last whole lines with the bytes where they begin. Raises OSError, NotALog."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a FIFO would block
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotALog("It is no regular file.")
        head = file.read(MAX_PART_BYTES)
        if head.startswith(GZIP_MAGIC):
            raise NotALog("It is compressed; only what nginx still writes can be looked at.")
        first = _first_lines(head, line_count - line_count // 2)
        if len(first) == len(head) and status.st_size <= MAX_PART_BYTES:
            return status.st_size, [(0, first)]
        start = max(len(first), status.st_size - MAX_PART_BYTES)
        file.seek(start)
        tail = file.read(MAX_PART_BYTES)
    if start > len(first):  # probably within a line
        begin = tail.find(b"\n") + 1
        start, tail = start + begin, tail[begin:]
    tail = tail[: tail.rfind(b"\n") + 1]
    last = _last_lines(tail, line_count // 2)
    return status.st_size, [(0, first), (start + len(tail) - len(last), last)]


def _first_lines(data: bytes, count: int) -> bytes:
    end = 0
    for _line in range(count):
        newline = data.find(b"\n", end)
        if newline < 0:
            break
        end = newline + 1
    return data[:end]


def _last_lines(data: bytes, count: int) -> bytes:
    begin = len(data)
    for _line in range(count):
        if begin == 0:
            break
        begin = data.rfind(b"\n", 0, begin - 1) + 1
    return data[begin:]


def _report_trial(trial: Trial, size: int, parts: Sequence[tuple[int, bytes]]) -> None:
    looked_at = sum(len(data) for _start, data in parts)
    print(f"  lines    {trial.line_count:,} looked at ({looked_at:,} of {size:,} bytes), {trial.blank_count:,} blank")
    print(
        f"  records  {trial.parsed_share:.2%}: {trial.fast_count:,} in the fast way, "
        f"{trial.general_count:,} in the general way; {len(trial.rejects):,} lines are none"
    )
    for reject in trial.rejects[:SHOWN_REJECTS]:
        print(f"    at byte {reject.offset:,}: {reject.message}")
        print(f"      {shown(reject.raw, SHOWN_LINE_BYTES)}")
    if len(trial.rejects) > SHOWN_REJECTS:
        print(f"    … and {len(trial.rejects) - SHOWN_REJECTS:,} more")


def _report_better(better: Sequence[Trial]) -> None:
    for trial in better:
        print(f"  LOG_FORMAT={trial.format_name} would take {trial.parsed_share:.2%} of the same lines.")
    if not better:
        print("  No built-in format takes more. Name nginx's configuration (NGINX_CONF), or give the format itself:")
        print("  LOG_FORMAT='…' with the text of its log_format.")


if __name__ == "__main__":
    sys.exit(main())
