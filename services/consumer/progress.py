"""How far one partition has come: received, taken by the sink, durable, committed. Pure.

    received ≥ taken ≥ durable ≥ committed

`begin` notes what the group knew before, `receive` what was polled, `pass_over` offsets behind it that hold no record,
`take` what the sink accepted, `flush` that all taken is durable, `commit` what the group knows. Only `uncommitted` may
be committed; a partition that comes back after a reassignment gets a new object.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.watermark import Watermark


@dataclass(frozen=True, slots=True)
class Gap:
    """`resumed_at` was the next offset that could be polled where `expected` should have been."""

    partition: int
    expected: int
    resumed_at: int


class PartitionProgress:
    """Offsets of one assignment of one partition. Each is the next one to come; None while that is unknown."""

    __slots__ = ("_committed", "_taken", "_watermark", "begun", "newest_timestamp_ms", "received_to")

    def __init__(self) -> None:
        self.begun = False
        self.received_to: int | None = None
        self.newest_timestamp_ms: int | None = None
        self._watermark: Watermark | None = None
        self._taken: list[tuple[int, int]] = []
        self._committed: int | None = None

    def begin(self, committed: int | None, at_sink: int | None = None) -> None:
        """The group remembers this offset, None when it never committed one; a sink that keeps its own goes first."""
        self.begun = True
        self._committed = committed
        begin = committed if at_sink is None else at_sink
        if begin is not None:
            self._watermark = Watermark(begin)
            self.received_to = begin

    def receive(self, first_offset: int, next_offset: int) -> None:
        """Note a polled batch. Offsets before it that did not come do not exist; they go back with a new topic."""
        expected = first_offset if self.received_to is None else self.received_to
        if self._watermark is None or first_offset < expected:
            self._watermark = Watermark(first_offset)
            self._committed = first_offset
            self._taken.clear()
        elif first_offset > expected:
            self._taken.append((expected, first_offset))
        self.received_to = next_offset

    def pass_over(self, position: int) -> None:
        """Nothing below `position` is left to be polled: what lies between it and the last batch holds no record.

        Only when all that was received is taken. A position that went back is left to the next batch.
        """
        if self._watermark is None or self.received_to is None:
            self._watermark = Watermark(position)
            self.received_to = position
        elif position > self.received_to:
            waiting = self.has_taken
            self._taken.append((self.received_to, position))
            self.received_to = position
            if not waiting:
                self.flush()

    def take(self, first_offset: int, next_offset: int, newest_timestamp_ms: int) -> None:
        """The sink has accepted a received batch."""
        self._taken.append((first_offset, next_offset))
        self.newest_timestamp_ms = newest_timestamp_ms

    def flush(self) -> None:
        """All that was taken is durable. Raises ValueError when that is not contiguous: something counts twice."""
        for start, end in self._taken:
            assert self._watermark is not None, "taken before received"
            self._watermark.finish(start, end)
        self._taken.clear()

    def commit(self, next_offset: int) -> None:
        """The group remembers this offset."""
        self._committed = next_offset

    @property
    def durable_to(self) -> int | None:
        """What is below needs no repetition."""
        return None if self._watermark is None else self._watermark.position

    @property
    def uncommitted(self) -> int | None:
        """The offset to commit; None when there is nothing new to tell the group. 0 tells it nothing."""
        return self.durable_to if self.durable_to and self.durable_to != self._committed else None

    @property
    def has_taken(self) -> bool:
        """Whether a flush would move anything."""
        return bool(self._taken)


def missing_offsets(gap: Gap, first_kept: int, *, resets_to_end: bool) -> int:
    """How many offsets, from the expected one on, were lost. Negative when they went back: the topic was made anew.

    A gap alone is no loss: markers of transactions take offsets as well. It is one when the broker keeps nothing below
    `first_kept`; a group that then goes on at the end (`resets_to_end`) has lost what is before that, too.
    """
    if gap.resumed_at < gap.expected:
        return gap.resumed_at - gap.expected
    if first_kept <= gap.expected:
        return 0
    return (gap.resumed_at if resets_to_end else min(first_kept, gap.resumed_at)) - gap.expected
