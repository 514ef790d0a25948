"""A replica that ends again and again is told from one that takes its time."""

from __future__ import annotations

from compose.control.crash_loop import MAX_STARTS, Starts
from compose.control.stack import Replica


def replica(started_at: str | None, name: str = "alerts-2") -> Replica:
    return Replica(name, "alerts", "running" if started_at else "restarting", "starting", None, started_at)


def test_who_is_started_again_and_again_is_named() -> None:
    """Looks between two starts, or while it rests, count for nothing."""
    starts = Starts()
    for number in range(1, MAX_STARTS):
        assert starts.looping([replica(str(number)), replica("1", "slow-1")]) is None
        assert starts.looping([replica(str(number)), replica(None)]) is None
    found = starts.looping([replica("1", "slow-1"), replica(str(MAX_STARTS))])
    assert found is not None
    assert found.name == "alerts-2"
