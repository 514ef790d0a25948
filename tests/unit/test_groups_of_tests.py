"""Tests that share something dear, such as a stack of containers, run in one worker."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_the_group_of_a_test_is_seen_by_the_scheduler(request: pytest.FixtureRequest, worker_id: str) -> None:
    """pytest-xdist writes it behind the test's name, by a way into pytest that is not promised."""
    assert worker_id == "master" or request.node.nodeid.endswith("@groups")
