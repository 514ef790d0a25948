"""What happens to files."""

from __future__ import annotations

import os
import signal

from tests.chaos.files import Load, LogFile, compress
from tests.chaos.journal import Expected
from tests.chaos.lines import mark
from tests.chaos.scenario import Scenario
from tests.chaos.scene import NotRun
from tests.chaos.stage import Stage
from tests.integration.producer_driver import RunningProducer

LINES_PER_S = 5_000
HEAD_BYTES = 4_096
LONG_LINE_BYTES = 10_000_000


def rotated_by_rename_under_load(stage: Stage) -> None:
    """10 rotations, each after the next few hundred lines."""
    log = stage.log()
    with Load(log, LINES_PER_S):
        stage.start()
        stage.until_arrived(500)
        with stage.fault():
            for number in range(1, stage.repetitions(10, 4) + 1):
                before = log.inode
                log.rotate(stage.logs / f"access.log.{number}")
                stage.require(log.inode != before, "access.log is another inode after each rotation")
                stage.until_written(stage.random.randint(100, 2_000))
            stage.observe(f"{number} rotations under load")
        stage.until_written(1_000)


def rotated_five_times_while_stopped(stage: Stage) -> None:
    """The old names move on as logrotate moves them; nothing but the first file was ever seen."""
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        stage.stop(producer)
        for _rotation in range(5):
            log.write(700)
            _shift(stage)
            log.rotate(stage.logs / "access.log.1")
        log.write(700)
        names = sorted(path.name for path in stage.logs.iterdir())
        stage.require(len(names) == 6, f"six files: {', '.join(names)}")
        stage.start(LOG_FILES=f"{stage.logs}/access.log,{stage.logs}/access.log.[0-9]")
    log.write(700)


def _shift(stage: Stage) -> None:
    """access.log.4 → .5, …, .1 → .2."""
    for number in range(5, 0, -1):
        old = stage.logs / f"access.log.{number}"
        if old.exists():
            old.rename(stage.logs / f"access.log.{number + 1}")


def rotated_with_the_tail_unread(stage: Stage) -> None:
    """Lines are written after the producer has stopped, then the file is renamed out of the patterns."""
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        stage.kill(producer)
        log.write(3_000)
        log.rotate(stage.logs / "access.log.1")
        log.write(1_000)
        stage.observe("3,000 lines were written to a file that was renamed while no producer ran")
        stage.start()
    log.write(1_000)


def stale_writer_after_rotation(stage: Stage) -> None:
    """nginx goes on in the renamed file until it is told to reopen."""
    old, _producer = _delivered(stage, 1_000)
    with stage.fault():
        new = old.rotate_keeping_the_writer(stage.logs / "access.log.1")
        for _turn in range(10):
            old.write(100)
            new.write(50)
            stage.until_arrived(1)
        stage.require(old.inode != new.inode, "both files grew in turn after the rename")
        old.close()
    new.write(1_000)


def copied_and_truncated(stage: Stage) -> None:
    """copytruncate of a file that was read to its end: nothing may be lost or come twice."""
    log, producer = _delivered(stage, 3_000)
    with stage.fault():
        for number in range(1, 4):
            size = log.copy_and_truncate(stage.logs / f"access.log.{number}")
            log.write(500)
            stage.until_event(producer, "file_truncated", number)
            stage.observe(f"a file of {size:,} bytes was truncated and the producer said so")
            stage.until_drained()
    log.write(1_000)


def copied_and_truncated_under_load(stage: Stage) -> None:
    """Whatever was written and not yet read when the truncation came is gone, for every reader. It is counted."""
    log = stage.log()
    with Load(log, LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            for number in range(1, 4):
                stage.until_written(2_000)
                with stage.journal.lock():
                    written = len(stage.journal)
                    log.copy_and_truncate(stage.logs / f"access.log.{number}")
                recent = range(written - LINES_PER_S, written)
                unseen = [line for line in recent if line >= 0 and not stage.watcher.has_seen(line)]
                stage.excuse_lost(unseen, "truncated before it was read")
                stage.until_event(producer, "file_truncated", number)
            stage.observe("three truncations under load; the producer said so each time")
        stage.until_written(1_000)


def truncated_and_regrown(stage: Stage) -> None:
    """Truncated and grown past the old position before the producer looks again: it is paused meanwhile."""
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        producer.process.send_signal(signal.SIGSTOP)
        old_bytes = log.copy_and_truncate(stage.logs / "access.log.1")
        log.write(4_000)
        stage.require(log.position > old_bytes, f"{old_bytes:,} bytes were cut, then {log.position:,} written")
        producer.process.send_signal(signal.SIGCONT)
    log.write(1_000)


def truncated_and_regrown_alike(stage: Stage) -> None:
    """The same, and both contents begin with the same 4 KiB: only what comes behind them tells."""
    log = stage.log()
    _write_head(log)
    log.write(2_000)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        producer.process.send_signal(signal.SIGSTOP)
        before = stage.logs / "access.log.1"
        old_bytes = log.copy_and_truncate(before)
        _write_head(log)
        log.write(4_000)
        heads = {path.read_bytes()[:HEAD_BYTES] for path in (before, log.path)}
        stage.require(len(heads) == 1 and log.position > old_bytes, "the same first 4 KiB, and more bytes than before")
        producer.process.send_signal(signal.SIGCONT)
    log.write(1_000)


def truncated_and_regrown_while_stopped(stage: Stage) -> None:
    """The same, with no producer meanwhile."""
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        stage.kill(producer)
        old_bytes = log.copy_and_truncate(stage.logs / "access.log.1")
        log.write(4_000)
        stage.require(log.position > old_bytes, f"{old_bytes:,} bytes were cut, then {log.position:,} written")
        stage.start()
    log.write(1_000)


def compressed_while_stopped(stage: Stage) -> None:
    """Half of the file was read, then it is rotated and compressed: the rest is read, nothing is sent again."""
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        stage.stop(producer)
        log.write(2_000)
        rotated = stage.logs / "access.log.1"
        log.rotate(rotated)
        packed = compress(rotated)
        stage.require(packed.exists() and not rotated.exists(), "only the compressed file is left of it")
        log.write(500)
        stage.start()
    log.write(500)


def recreated_shorter(stage: Stage) -> None:
    """Deleted and created anew on the same inode while stopped, and shorter than what was read."""
    _recreate(stage, 500)


def recreated_longer(stage: Stage) -> None:
    """The same, and longer."""
    _recreate(stage, 5_000)


def _recreate(stage: Stage, lines: int) -> None:
    log, producer = _delivered(stage, 2_000)
    with stage.fault():
        stage.stop(producer)
        before, old_bytes = log.inode, log.position
        log.recreate()
        if log.inode != before:
            raise NotRun("this file system does not give a deleted file's inode to the next one at once")
        log.write(lines)
        stage.observe(f"the same inode, {old_bytes:,} bytes before and {log.position:,} after")
        stage.start()
    log.write(500)


def identical_heads(stage: Stage) -> None:
    """Two sites' files whose first 4 KiB are the same bytes, one of them rotated."""
    logs = [stage.log("one-access.log"), stage.log("two-access.log")]
    for log in logs:
        _write_head(log)
        log.write(300)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        heads = {(stage.logs / name).read_bytes()[:HEAD_BYTES] for name in ("one-access.log", "two-access.log")}
        stage.require(len(heads) == 1, "the first 4 KiB of both files are the same")
        stage.kill(producer)
        logs[0].write(300)
        logs[0].rotate(stage.logs / "one-access.log.1")
        logs[0].write(300)
        logs[1].write(300)
        stage.start()
    for log in logs:
        log.write(300)


def _write_head(log: LogFile) -> None:
    """4 KiB of the same line."""
    while log.position < HEAD_BYTES:
        log.write_odd(b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /head HTTP/1.1" 200 1 "-" "-"', Expected.RECORD)


def files_of_one_line(stage: Stage) -> None:
    """200 files of one line each, read, a restart, and then a second line in each."""
    logs = [stage.log(f"{number:03d}-access.log") for number in range(200)]
    for log in logs:
        log.write(1)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        stage.kill(producer)
        for log in logs:
            log.write(1)
        stage.observe("200 files held one line when the producer was killed")
        stage.start()
        stage.until_drained()
    for log in logs:
        log.write(1)


def half_a_line_over_a_restart(stage: Stage) -> None:
    """Half a line, a restart, the other half: one whole record."""
    log, producer = _delivered(stage, 500)
    with stage.fault():
        for kept_bytes in (1, 40, 120):
            text = log.begin_line(kept_bytes)
            stage.stop(producer)
            producer = stage.start()
            stage.until_event(producer, "file_followed")
            log.end_line(text, kept_bytes)
            stage.until_drained()
        log.write(200)
        stage.observe("3 lines were half written when the producer stopped")
    log.write(500)


def no_newline_for_ever(stage: Stage) -> None:
    """A file that ends in half a line holds up nobody, and the half line is no record."""
    stuck, log = stage.log("stuck-access.log"), stage.log()
    stuck.write(200)
    stuck.write_unterminated(b"half a line" * 100)
    log.write(500)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        log.write(500)
        stage.until_drained()
        stage.stop(producer)
        left = producer.events("producer_stopped")[-1]["unread_bytes"]
        stage.require(left == 1_100, f"{left} bytes without a newline were left unread")
        stage.start()
    log.write(500)


def line_of_ten_megabytes(stage: Stage) -> None:
    """Over MAX_LINE_BYTES: a dead letter with its beginning and length; its neighbours are records."""
    log, _producer = _delivered(stage, 500)
    with stage.fault():
        log.write(200)
        long_line = b"GET " + mark(stage.run, len(stage.journal)) + b" " + b"x" * LONG_LINE_BYTES
        log.write_odd(long_line, Expected.DEAD_LETTER)
        log.write(200)
        stage.observe(f"a line of {LONG_LINE_BYTES:,} bytes")
        stage.until_drained()
    log.write(500)


def bytes_that_are_no_text(stage: Stage) -> None:
    """NUL, invalid UTF-8, CRLF, binary and empty lines: each is accounted for, with its original bytes or its place."""
    log, _producer = _delivered(stage, 500)
    template = b'10.0.0.7 - - [17/May/2015:10:05:03 +0000] "GET %b HTTP/1.1" 200 1 "-" "%b"'
    with stage.fault():
        for _turn in range(20):
            for agent in (b"with a \x00 in it", b"with \xff\xfe in it", b"\xc3(", b"tab\tand\x1b[31m"):
                log.write_odd(template % (mark(stage.run, len(stage.journal)), agent), Expected.EITHER)
            log.write_odd(template % (mark(stage.run, len(stage.journal)), b"-") + b"\r", Expected.EITHER)
            binary = stage.random.randbytes(300).replace(b"\n", b"")
            log.write_odd(binary + mark(stage.run, len(stage.journal)), Expected.DEAD_LETTER)
            log.write_odd(b"", Expected.NOTHING_OR_ONE)
            log.write(10)
        stage.observe("20 times 7 lines that are no plain text")
        stage.until_drained()
    log.write(500)


def no_plain_files_in_the_glob(stage: Stage) -> None:
    """A symlink to a followed file, a dangling one, a FIFO and a directory: refused with a message, nobody hangs."""
    log = stage.log()
    log.write(500)
    (stage.logs / "link-access.log").symlink_to(log.path)
    (stage.logs / "dangling-access.log").symlink_to(stage.logs / "nowhere")
    (stage.logs / "folder-access.log").mkdir()
    os.mkfifo(stage.logs / "fifo-access.log")
    with stage.fault():
        producer = stage.start()
        stage.until_event(producer, "file_refused", 2)
        told = sorted({str(event["path"]).rpartition("/")[2] for event in producer.events("file_refused")})
        stage.require({"fifo-access.log", "folder-access.log"} <= set(told), f"refused: {', '.join(told)}")
        log.write(500)
        stage.until_drained()
    log.write(500)


def _delivered(stage: Stage, lines: int) -> tuple[LogFile, RunningProducer]:
    """A log whose lines are all in the topic, and the producer that brought them."""
    log = stage.log()
    log.write(lines)
    producer = stage.start()
    stage.until_drained()
    return log, producer


SCENARIOS = (
    Scenario("rename rotation", rotated_by_rename_under_load),
    Scenario("rename rotation 5 times while stopped", rotated_five_times_while_stopped),
    Scenario("rename rotation", rotated_with_the_tail_unread),
    Scenario("a stale writer after rotation", stale_writer_after_rotation),
    Scenario("copytruncate", copied_and_truncated),
    Scenario("copytruncate", copied_and_truncated_under_load),
    Scenario("truncated and regrown past the old offset", truncated_and_regrown),
    Scenario("truncated and regrown past the old offset", truncated_and_regrown_alike),
    Scenario("truncated and regrown past the old offset", truncated_and_regrown_while_stopped),
    Scenario("gzip of a rotated file while stopped", compressed_while_stopped),
    Scenario("delete and recreate on the same inode, shorter and longer", recreated_shorter),
    Scenario("delete and recreate on the same inode, shorter and longer", recreated_longer),
    Scenario("two files with identical first 4 KiB", identical_heads),
    Scenario("files of one line", files_of_one_line),
    Scenario("half a line, a restart, the other half", half_a_line_over_a_restart),
    Scenario("no newline for ever", no_newline_for_ever),
    Scenario("a 10 MB line", line_of_ten_megabytes),
    Scenario("NUL, invalid UTF-8, CRLF, binary and empty lines", bytes_that_are_no_text),
    Scenario("a symlink, a FIFO and a directory in the glob", no_plain_files_in_the_glob),
)
