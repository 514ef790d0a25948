"""What the report says of groups that grow and shrink, and which partitions count as those that stayed."""

from __future__ import annotations

from typing import cast

from tests.chaos.auditor import Mode
from tests.chaos.consumers.stage import partitions_kept
from tests.chaos.consumers.table import SCENARIOS
from tests.chaos.report import Run, markdown, row_of
from tests.chaos.scenario import Outcome
from tests.chaos.scene import Plan
from tests.integration.consumer_driver import Replica


def test_partitions_stay_where_their_replica_is_the_same() -> None:
    one, other = cast(Replica, object()), cast(Replica, object())
    assert partitions_kept({0: one, 1: one, 2: other}, {0: one, 1: other, 2: other, 3: one}) == {0, 2}


def test_the_report_says_what_a_reassignment_costs() -> None:
    outcome = Outcome("scaled_under_load_handler", paused_s=(1.04, 1.36))
    row = row_of(SCENARIOS[outcome.name], outcome)
    text = markdown(Run(Plan(Mode.EXACTLY_ONCE, 1), [row], 1.0))
    assert "eager protocol" in text
    assert "| scaled_under_load_handler | 1.0 s | 1.4 s |" in text
    assert "eager protocol" not in markdown(Run(Plan(Mode.EXACTLY_ONCE, 1), [], 1.0))
