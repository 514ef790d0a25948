"""What `make files` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from compose.control.ledger_view import COLUMNS, columns, duration, percent, rows, size, stuck_count, summary
from compose.control.stack import Replica, Stack
from compose.control.verbs import Options, files
from compose.errors import OperatorError

TALLY = {
    "read": 1_000,
    "confirmed": 900,
    "dead_lettered": 40,
    "skipped": 50,
    "skipped_blank": 20,
    "skipped_already_delivered": 30,
    "in_flight": 10,
}
STUCK = {"at_byte": 1_234_567, "since": "2026-01-02T03:04:05+00:00", "for_s": 200.4, "cause": "broker"}


def file(path: str = "/logs/a", because: str | None = None, **changes: object) -> dict[str, Any]:
    return {
        "path": path,
        "generation": "1-a",
        "size": 2_500_000,
        "began_at": 0,
        "position": 2_499_999,
        "confirmed_position": 1_234_567,
        "bytes": {**TALLY, "abandoned": 3_000},
        "lines": TALLY,
        "stuck": None if because is None else {**STUCK, "because": because},
        **changes,
    }


def document(*of_files: dict[str, Any]) -> dict[str, Any]:
    return {
        "delivery": "exactly-once",
        "session": {"connected": True, "since": "2026-01-02T03:04:05+00:00", "because": None},
        "totals": {"bytes": {**TALLY, "abandoned": 3_000}, "lines": TALLY},
        "files": list(of_files),
        "files_left_out": 0,
        "others": {"files": 0, "bytes": {**TALLY, "abandoned": 0}, "lines": TALLY},
    }


class Told:
    """A stack of which only the replicas and their answers are asked for."""

    def __init__(self, answer: object, *, running: bool = True) -> None:
        self._answer = answer
        self._running = running

    def replicas(self) -> Sequence[Replica]:
        return [Replica("producer-1", "producer", "running", "ready", 1, "now" if self._running else None)]

    def ask(self, replica: Replica, path: str) -> str:
        assert (replica.name, path) == ("producer-1", "/status?limit=1000")
        return self._answer if isinstance(self._answer, str) else json.dumps(self._answer)


def show(told: Told, options: Options | None = None) -> int:
    return files(cast(Stack, told), options or Options(), [])


def test_a_file_is_a_row_with_what_became_of_its_lines() -> None:
    """99 % is not 100: nobody should believe that all is read."""
    [row] = rows(document(file(because="no broker answers")))
    assert dict(zip(COLUMNS, row, strict=True)) == {
        "file": "/logs/a",
        "size": "2.5 MB",
        "read": "99 %",
        "confirmed": "900",
        "dead-lettered": "40",
        "skipped": "50",
        "in flight": "10",
        "abandoned": "3.0 kB",
        "state": "stuck at byte 1,234,567 for 3 min: no broker answers",
    }


def test_files_of_one_path_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """As after a rotation: by the generation that is in their records, and only then."""
    rotated = document(file(generation="1-a"), file(generation="2-b"), file("/logs/c", generation=None))
    assert columns(rotated)[:3] == ("file", "generation", "size")
    assert [row[:2] for row in rows(rotated)] == [("/logs/a", "1-a"), ("/logs/a", "2-b"), ("/logs/c", "-")]
    assert all(len(row) == len(columns(rotated)) for row in rows(rotated))
    assert show(Told(rotated)) == 0
    assert "2-b" in capsys.readouterr().out
    assert columns(document(file(), file("/logs/c"))) == COLUMNS


@pytest.mark.parametrize(
    ("position", "in_flight", "state"), [(10, 0, "moving"), (100, 5, "moving"), (100, 0, "all done")]
)
def test_a_file_that_is_not_stuck_moves_or_is_done(position: int, in_flight: int, state: str) -> None:
    """Done means confirmed, not read."""
    [row] = rows(document(file(size=100, position=position, lines={**TALLY, "in_flight": in_flight})))
    assert row[-1] == state


def test_names_and_reasons_steer_no_terminal() -> None:
    """A file may be called anything."""
    [row] = rows(document(file("/logs/a\x1b[2J\u202e\x9bé", because="no\x1b[1mway")))
    assert row[0] == "/logs/a\\x1b[2J\\u202e\\x9bé"
    assert all(cell.isprintable() for cell in row)


def test_the_summary_is_the_equation() -> None:
    text = summary(document())
    assert "1,000 lines read = 900 confirmed + 40 dead-lettered + 50 skipped" in text
    assert "(20 blank, 30 in the topic already) + 10 in flight; 3,000 bytes abandoned" in text
    starting = {**document(), "totals": None, "session": {"connected": False, "since": None, "because": "starting"}}
    assert summary(starting) == "exactly-once, not connected: starting. No file is looked at yet."


def test_the_verb_ends_with_1_when_a_file_is_stuck(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts; the table names the file and the reason."""
    assert show(Told(document(file()))) == 0
    assert show(Told(document(file(because="Permission denied"), file("/logs/b")))) == 1
    assert stuck_count(document(file(because="x"), file())) == 1
    assert "/logs/b" in capsys.readouterr().out


def test_for_machines_it_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """By the name of the replica."""
    assert show(Told(document(file())), Options(json=True)) == 0
    assert json.loads(capsys.readouterr().out) == {"producer-1": document(file())}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(document(), running=False), "No producer runs"),
        (Told("404: Not Found"), "its answer is no JSON"),
        (Told({"error": "limit=x"}), "cannot tell of its files: limit=x"),
    ],
)
def test_what_cannot_be_told_is_an_error_with_a_next_step(told: Told, message: str) -> None:
    with pytest.raises(OperatorError, match=message) as caught:
        show(told)
    assert caught.value.next_step


def test_numbers_are_short() -> None:
    """Sizes, ages, shares."""
    assert [size(count) for count in (0, 999, 1_000, 999_960, 3_200_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "3.2 GB",
    ]
    assert size(7_000_000_000_000) == "7.0 TB"
    assert [duration(seconds) for seconds in (12.3, 119, 120, 7_200, 172_800)] == [
        "12 s",
        "119 s",
        "2 min",
        "2 h",
        "2 days",
    ]
    assert [percent(0, 0), percent(0, 5), percent(4_999, 5_000), percent(7, 5)] == ["-", "0 %", "99 %", "100 %"]
