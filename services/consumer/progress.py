"""How far one partition has come: received, taken by the sink, durable, committed. Pure.

    received ≥ taken ≥ durable ≥ committed

`receive` notes what was polled, `take` what the sink accepted, `flush` that all taken is durable, `commit` what the
group knows. Only `uncommitted` may be committed; a partition that comes back after a reassignment gets a new object.
"""

from __future__ import annotations

from shared.watermark import Watermark


class PartitionProgress:
    """Offsets of one assignment of one partition. Each is the next one to come; None while that is unknown."""

    __slots__ = ("_committed", "_taken", "_watermark", "newest_timestamp_ms", "received_to")

    def __init__(self) -> None:
        self.received_to: int | None = None
        self.newest_timestamp_ms: int | None = None
        self._watermark: Watermark | None = None
        self._taken: list[tuple[int, int]] = []
        self._committed: int | None = None

    def receive(self, first_offset: int, next_offset: int) -> int:
        """Note a polled batch. Returns how many offsets are missing before it; negative when the offsets went back.

        Offsets are missing after retention overtook the group; they go back when the topic was made anew.
        """
        expected = first_offset if self.received_to is None else self.received_to
        if self._watermark is None or first_offset < expected:
            self._watermark = Watermark(first_offset)
            self._committed = first_offset
            self._taken.clear()
        elif first_offset > expected:
            self._taken.append((expected, first_offset))
        self.received_to = next_offset
        return first_offset - expected

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
        """The offset to commit; None when there is nothing new to tell the group."""
        return None if self.durable_to == self._committed else self.durable_to

    @property
    def has_taken(self) -> bool:
        """Whether a flush would move anything."""
        return bool(self._taken)
