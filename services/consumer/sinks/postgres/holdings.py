"""What the sink has taken and not stored, by partition, and what is known to be stored. Pure.

begin      what the database has stored; None where it knows nothing of the partition
hold       rows that follow
moves      what a transaction has to do: from the stored offset to the next one
judge      of a transaction whose outcome nobody heard: which of its ends the database shows
finish     that transaction, or the one that was just committed, is stored
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from services.consumer.sinks.postgres.rows import Row


@dataclass(frozen=True, slots=True)
class Move:
    """Of one partition: `expected` must be stored now (None: nothing), `next_offset` will be."""

    partition: int
    expected: int | None
    next_offset: int


class Outcome(Enum):
    """Of a transaction."""

    STORED = auto()
    NOT_STORED = auto()
    OVERTAKEN = auto()  # by another member


@dataclass(slots=True)
class _Partition:
    stored_to: int | None
    held_to: int | None
    rows: list[Row] = field(default_factory=list)

    @property
    def has_moved(self) -> bool:
        return self.held_to != self.stored_to


class Holdings:
    """Of one replica."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    @property
    def row_count(self) -> int:
        return sum(len(one.rows) for one in self._partitions.values())

    @property
    def moves(self) -> tuple[Move, ...]:
        """In the order of partitions, so that two members who meet wait for each other in one order."""
        return tuple(
            Move(number, one.stored_to, one.held_to)
            for number, one in sorted(self._partitions.items())
            if one.has_moved and one.held_to is not None
        )

    def rows(self) -> Iterator[Row]:
        """All that is held, in the order of each partition's offsets."""
        for _number, one in sorted(self._partitions.items()):
            yield from one.rows

    def begin(self, stored: Mapping[int, int], partitions: Collection[int]) -> None:
        """These are this replica's; `stored` is what the database has of them."""
        for partition in partitions:
            known = stored.get(partition)
            self._partitions[partition] = _Partition(known, known)

    def next_offset(self, partition: int) -> int | None:
        """Nothing below may come any more; None when anything may."""
        one = self._partitions.get(partition)
        return None if one is None else one.held_to

    def hold(self, partition: int, rows: Iterable[Row], next_offset: int) -> None:
        """A partition that was forgotten meanwhile stays forgotten."""
        one = self._partitions.get(partition)
        if one is not None:
            one.rows += rows
            one.held_to = next_offset

    def judge(self, moves: Collection[Move], found: Mapping[int, int]) -> Outcome:
        """Of a transaction of these moves, by the offsets that are stored now."""
        if all(found.get(move.partition) == move.next_offset for move in moves):
            return Outcome.STORED
        if all(found.get(move.partition) == move.expected for move in moves):
            return Outcome.NOT_STORED
        return Outcome.OVERTAKEN

    def finish(self, moves: Collection[Move]) -> None:
        """They are stored; the same holds here."""
        for move in moves:
            if move.partition in self._partitions:
                self._partitions[move.partition] = _Partition(move.next_offset, move.next_offset)

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)
