"""Which files count as stuck, since when and because of what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.producer.stuck import MAX_TOLD_FILES, STUCK_AFTER_S, Cause, FileState, StuckFiles, WayState, cause_of

OPEN_WAY = WayState(None, outbox_full=False)
NO_BROKER = WayState("no broker answers at 127.0.0.1:9092", outbox_full=False)
WAITING = FileState("/logs/a", "1-a", size=100, position=40, settled=40, in_flight_bytes=0)
SENT = replace(WAITING, position=100, settled=40, in_flight_bytes=60)
DONE = replace(WAITING, position=100, settled=100)


@pytest.mark.parametrize(
    ("file", "way", "cause", "because"),
    [
        (SENT, OPEN_WAY, Cause.BROKER, "not confirmed"),
        (SENT, NO_BROKER, Cause.BROKER, "no broker answers"),
        (WAITING, NO_BROKER, Cause.BROKER, "no broker answers"),
        (replace(WAITING, unreadable="Permission denied"), NO_BROKER, Cause.UNREADABLE, "Permission denied"),
        (replace(WAITING, lacks_newline=True), OPEN_WAY, Cause.UNFINISHED_LINE, "no newline"),
        (replace(WAITING, lacks_newline=True), NO_BROKER, Cause.UNFINISHED_LINE, "no newline"),
        (WAITING, WayState(None, outbox_full=True), Cause.OUTBOX_FULL, "no more is read"),
        (replace(WAITING, is_searched=True), OPEN_WAY, Cause.SEARCH, "long line"),
        (WAITING, OPEN_WAY, Cause.TURN, "other files"),
    ],
)
def test_the_cause_is_the_first_thing_in_the_way(file: FileState, way: WayState, cause: Cause, because: str) -> None:
    """What would hold the file even if everything else were well comes first."""
    found, text = cause_of(file, way)
    assert found is cause
    assert because in text


def test_a_file_is_stuck_when_its_byte_has_not_moved_for_long() -> None:
    """From the look at which it began to wait; not one that moves, and not one that has nothing."""
    files = StuckFiles()
    files.look([WAITING, replace(DONE, generation="done")], OPEN_WAY, 100.0)
    files.look([WAITING], OPEN_WAY, 100.0 + STUCK_AFTER_S - 0.1)
    assert not files.stuck
    files.look([WAITING, replace(DONE, generation="done")], NO_BROKER, 100.0 + STUCK_AFTER_S)
    [stuck] = files.stuck.values()
    assert (stuck.at, stuck.since, stuck.cause) == (40, 100.0, Cause.BROKER)
    assert files.oldest_age_s(120.0) == 20.0
    files.look([replace(WAITING, settled=41)], OPEN_WAY, 130.0)
    assert not files.stuck
    assert files.oldest_age_s(130.0) == 0.0


def test_a_file_that_was_done_waits_from_the_moment_that_more_came() -> None:
    """A quiet night is no time of waiting."""
    files = StuckFiles()
    files.look([DONE], OPEN_WAY, 0.0)
    files.look([replace(DONE, size=150)], OPEN_WAY, 1000.0)
    files.look([replace(DONE, size=150)], OPEN_WAY, 1000.0 + STUCK_AFTER_S)
    assert [stuck.since for stuck in files.stuck.values()] == [1000.0]


def test_bytes_that_were_read_meanwhile_do_not_count_as_movement() -> None:
    """Nothing of it is confirmed: it is still the same byte that waits."""
    files = StuckFiles()
    files.look([WAITING], OPEN_WAY, 0.0)
    files.look([SENT], OPEN_WAY, STUCK_AFTER_S)
    assert [stuck.at for stuck in files.stuck.values()] == [40]


def test_each_state_is_told_once() -> None:
    """When it begins, when its cause is another one, and when it is over."""
    files = StuckFiles()
    files.look([WAITING], OPEN_WAY, 0.0)
    files.look([WAITING], OPEN_WAY, 20.0)
    assert [stuck.cause for stuck in files.take_changes()[0]] == [Cause.TURN]
    files.look([WAITING], OPEN_WAY, 21.0)
    assert files.take_changes() == ([], [])
    files.look([WAITING], NO_BROKER, 22.0)
    news, moving = files.take_changes()
    assert ([stuck.cause for stuck in news], moving) == ([Cause.BROKER], [])
    files.look([DONE], OPEN_WAY, 23.0)
    news, moving = files.take_changes()
    assert (news, [stuck.since for stuck in moving]) == ([], [0.0])
    files.look([DONE], OPEN_WAY, 24.0)
    assert files.take_changes() == ([], [])


def test_many_stuck_files_are_counted_and_some_are_told() -> None:
    """A broker that is away holds thousands; the log names the first of them, and no other moves in it."""
    files = StuckFiles()
    many = [replace(WAITING, generation=str(number)) for number in range(3 * MAX_TOLD_FILES)]
    files.look(many, NO_BROKER, 0.0)
    files.look(many, NO_BROKER, 20.0)
    news, _moving = files.take_changes()
    assert (len(files.stuck), len(news)) == (3 * MAX_TOLD_FILES, MAX_TOLD_FILES)
    files.look([], OPEN_WAY, 21.0)
    assert len(files.take_changes()[1]) == MAX_TOLD_FILES
