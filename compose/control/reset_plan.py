"""Where a group is to go on: from what was typed to offsets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from compose.errors import OperatorError
from shared.kafka.groups import Group
from shared.kafka.scan import Span
from shared.tools.moments import parse_moment

Target = Literal["earliest", "latest"] | int | datetime
EXAMPLE = "Try: make reset-group GROUP=consumer TO=-2h, or TO=earliest, latest, 2026-11-22T16:00 or an offset."
# Sinks that go on from offsets of their own, and what makes them forget those.
KEEPS_OFFSETS = {
    "postgres": "To store records again give it a new table (POSTGRES_TABLE), and start it after that.",
    "alerts": "To count records again move ALERTS_DIR/state.json away, and start it after that.",
}
# What becomes of records at sinks that go on from what is committed, where that is not plain.
EFFECTS = {
    "archive": (
        "SINK=archive passes over what comes again and is archived already, and archives what is not. "
        "What is skipped here is not archived."
    ),
    "kafka": "SINK=kafka goes on from what is committed here: what comes again, it writes to its topic once more.",
}


def parse_target(text: str | None, now: datetime) -> Target:
    """Raises OperatorError for what is none."""
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text and text.isdecimal():
        return int(text)
    try:
        return parse_moment(text or "", now)
    except ValueError:
        raise OperatorError(f"TO={text or ''} says no place to go on from.", EXAMPLE) from None


def parse_partitions(text: str | None, known: Sequence[int]) -> tuple[int, ...]:
    """All of them without a text. Raises OperatorError for one that is not there."""
    if not text:
        return tuple(sorted(known))
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) in known for word in words):
        there = ", ".join(map(str, sorted(known)))
        raise OperatorError(f"PARTITIONS={text} names what is no partition of the topic.", f"There are: {there}")
    return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True)
class Move:
    """One partition of the group. `asked` differs from `to` where that offset is not kept or not written yet."""

    partition: int
    committed: int | None
    asked: int
    to: int

    @property
    def effect(self) -> str:
        """In words. Counts are of offsets; those of transaction markers hold no record."""
        clipped = f" (asked for {self.asked:,}, which is not there)" if self.asked != self.to else ""
        if self.committed is None:
            return f"begins here; it had committed nothing{clipped}"
        if self.to == self.committed:
            return f"stays{clipped}"
        if self.to < self.committed:
            return f"{self.committed - self.to:,} again{clipped}"
        return f"{self.to - self.committed:,} skipped{clipped}"


def plan(
    group: Group, partitions: Sequence[int], held: Mapping[int, Span], target: Target, at_time: Mapping[int, Span]
) -> tuple[Move, ...]:
    """Where each partition goes; `at_time` says it for a moment."""
    moves = []
    for partition in partitions:
        span = held[partition]
        if isinstance(target, int):
            asked = target
        elif isinstance(target, datetime):
            asked = at_time[partition].first
        else:
            asked = span.first if target == "earliest" else span.end
        to = min(max(asked, span.first), span.end)
        moves.append(Move(partition, group.committed.get(partition), asked, to))
    return tuple(moves)


def warning(sink: str | None) -> str | None:
    """What the group's sink will make of it; None where the sink takes what comes."""
    if sink is None:
        return (
            "This stack has no service of this group, so its sink is not known. One that keeps its own offsets goes on "
            "from those, whatever is committed here."
        )
    if overrules(sink):
        return (
            f"SINK={sink} keeps its own offsets with what it stored, and goes on from those, not from what was set: "
            "what it holds does not come again, and nothing behind that is skipped. Only partitions that it holds "
            f"nothing of begin as shown. {KEEPS_OFFSETS[sink]}"
        )
    return EFFECTS.get(sink)


def overrules(sink: str) -> bool:
    """Whether a sink may go on from elsewhere than what is committed."""
    return sink in KEEPS_OFFSETS
