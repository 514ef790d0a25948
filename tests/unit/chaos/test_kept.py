"""A run that takes more than one sitting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.auditor import Mode
from tests.chaos.kept import keep, left_of, load, with_row
from tests.chaos.report import Row, Run, markdown
from tests.chaos.scenario import Outcome
from tests.chaos.scene import Plan

PLAYING = ["broker_hangs", "zombie", "rolling_restart_kafka"]


def row(name: str, *, good: bool = True) -> Row:
    return Row(name, "", Outcome(name, failures=[] if good else ["no"]), good, revision="1111111")


def test_what_is_left_is_what_was_not_played_or_not_as_it_has_to_be() -> None:
    assert left_of(PLAYING, [row("broker_hangs"), row("zombie", good=False)]) == ["zombie", "rolling_restart_kafka"]


def test_a_row_that_is_played_again_takes_the_place_of_the_first() -> None:
    rows = with_row(PLAYING, [row("zombie", good=False), row("broker_hangs")], row("zombie"))
    assert [(one.name, one.good) for one in rows] == [("broker_hangs", True), ("zombie", True)]


def test_a_run_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    run = Run(Plan(Mode.EXACTLY_ONCE, 7), [row("broker_hangs"), row("zombie", good=False)], 60.0)
    keep(tmp_path / "run.pickle", run)
    assert load(tmp_path / "run.pickle") == run


def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Begin one without it"):
        load(tmp_path / "run.pickle")


def test_the_page_tells_which_rows_are_of_another_revision() -> None:
    rows = [row("broker_hangs"), row("rolling_restart_kafka"), replace(row("zombie"), revision="2222222")]
    page = markdown(Run(Plan(Mode.EXACTLY_ONCE, 7), rows, 60.0))
    assert "Played at revision 1111111.\nPlayed at revision 2222222: zombie.\n\n```sh" in page
