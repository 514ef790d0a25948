"""What publishers and workers note, and what follows from it. Pure but for what reads and writes.

A line of a journal is written with one call before the message is acknowledged: it outlives a SIGKILL.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.brokers.messages import RECORD_COUNT, key_number
from bench.summary import percentile

_LINE = struct.Struct("<QQQ")
LINE_BYTES = _LINE.size


class Confirmation(NamedTuple):
    """A message that the broker has confirmed."""

    number: int
    due_ns: int
    confirmed_ns: int


class Receipt(NamedTuple):
    """A message that a worker begins to handle."""

    number: int
    due_ns: int
    received_ns: int


Noted = TypeVar("Noted", Confirmation, Receipt)


class Journal:
    """The writing side."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, number: int, due_ns: int, now_ns: int) -> None:
        """A confirmation or a receipt."""
        os.write(self._descriptor, _LINE.pack(number, due_ns, now_ns))

    def close(self) -> None:
        os.close(self._descriptor)


def read_journal(path: Path, kind: type[Noted]) -> list[Noted]:
    """Without a line that is being written."""
    data = path.read_bytes() if path.exists() else b""
    return [kind(*values) for values in _LINE.iter_unpack(data[: len(data) // LINE_BYTES * LINE_BYTES])]


@dataclass(frozen=True, slots=True)
class Account:
    """Of one group."""

    lost: int
    """Confirmed and never received."""
    doubled: int
    """Receipts of messages that had been received before."""
    late: int
    """Messages that came after one with a higher number."""
    late_within_key: int
    """The same among messages of one key."""
    shares: tuple[int, ...]
    """Receipts by worker."""

    @property
    def smallest_share(self) -> float:
        """Of all receipts."""
        return min(self.shares) / max(1, sum(self.shares))


def account(
    confirmed: Iterable[Confirmation],
    receipts_by_worker: Sequence[Sequence[Receipt]],
    key_count: int = RECORD_COUNT,
) -> Account:
    """Hold what a group received against what was confirmed."""
    receipts = sorted((receipt for each in receipts_by_worker for receipt in each), key=lambda one: one.received_ns)
    times = Counter(receipt.number for receipt in receipts)
    first_times = list(dict.fromkeys(receipt.number for receipt in receipts))
    return Account(
        lost=sum(one.number not in times for one in confirmed),
        doubled=len(receipts) - len(times),
        late=count_late(first_times),
        late_within_key=sum(map(count_late, _by_key(first_times, key_count))),
        shares=tuple(len(each) for each in receipts_by_worker),
    )


def count_late(numbers: Iterable[int]) -> int:
    """How many come after a higher one."""
    highest, late = -1, 0
    for number in numbers:
        late += number < highest
        highest = max(highest, number)
    return late


def _by_key(numbers: Iterable[int], key_count: int) -> Iterable[list[int]]:
    by_key: dict[int, list[int]] = {}
    for number in numbers:
        by_key.setdefault(key_number(number, key_count), []).append(number)
    return by_key.values()


def latencies_ms(receipts: Iterable[Receipt]) -> list[float]:
    """In order, from the moment a message was due to its first receipt."""
    first: dict[int, float] = {}
    for receipt in sorted(receipts, key=lambda one: one.received_ns):
        first.setdefault(receipt.number, (receipt.received_ns - receipt.due_ns) / 1e6)
    return sorted(first.values())


def p50_p99(ordered: Sequence[float]) -> tuple[float, float]:
    return percentile(ordered, 0.50), percentile(ordered, 0.99)


def longest_silence_ms(moments_ns: Iterable[int]) -> float:
    """The longest time without one of these."""
    ordered = sorted(moments_ns)
    return max((after - before for before, after in pairwise(ordered)), default=0) / 1e6


def first_after(moments_ns: Iterable[int], begin_ns: int) -> int:
    """The first of these moments that is not before `begin_ns`. Raises ValueError where there is none."""
    return min(moment for moment in moments_ns if moment >= begin_ns)
