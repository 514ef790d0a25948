"""Random owners, batches, hours and crashes at any step, against one sentence: each record is archived exactly once."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.consumer.archive.columns import rows_by_hour
from services.consumer.archive.layout import Span, joined, missing_from, redundant
from services.consumer.archive.partition import PartitionArchive
from services.consumer.archive.survey import survey
from tests.unit.consumer.archive_files import at_hours
from tests.unit.consumer.records import TOPIC

PARTITION = 3
spans = st.builds(lambda first, length: Span(first, first + length), st.integers(0, 40), st.integers(0, 8))


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, not even what cleans up."""


class Steps:
    """Lets every change of a file be the last one (`die`), or fail (`fail`)."""

    CHANGES = ((Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (os, "fsync"), (os, "pwrite"), (os, "ftruncate"))

    def __init__(self, how: Literal["die", "fail", "no"], after: int) -> None:
        self._how = how
        self._left = after

    @contextmanager
    def counted(self) -> Iterator[None]:
        with ExitStack() as patches:
            for owner, name in self.CHANGES:
                # Processes die here, not the power: there is nothing to see of what was not synced.
                change = _nothing if name == "fsync" else getattr(owner, name)
                patches.enter_context(mock.patch.object(owner, name, self._wrapped(change)))
            yield

    def _wrapped(self, change: Any) -> Any:
        def step(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._how == "die" and self._left < 0:
                raise Killed
            if self._how == "fail" and self._left == -1:
                raise OSError(28, "No space left on device")
            return change(*arguments, **named)

        return step


def _nothing(_descriptor: int) -> None:
    pass


@dataclass
class Owner:
    """A member that reads on from an offset, and what it does not know yet."""

    archive: PartitionArchive
    position: int


@dataclass
class Group:
    """A partition, its committed offset, the owner and those that were its owners and still live."""

    root: Path
    topic: list[int | None]
    committed: int = 0
    past: list[Owner] = field(default_factory=list)
    owner: Owner = field(init=False)

    def __post_init__(self) -> None:
        self.assign()

    def assign(self) -> None:
        archive = PartitionArchive(self.root, TOPIC, PARTITION)
        archive.settle()
        self.owner = Owner(archive, self.committed)

    def take(self, owner: Owner, count: int) -> None:
        part = self.topic[owner.position : owner.position + count]
        if any(hour is not None for hour in part):
            batch = at_hours(owner.position, part, PARTITION)
            owner.archive.hold(batch, rows_by_hour(batch))
        owner.position += len(part)

    def publish(self, owner: Owner) -> None:
        owner.archive.publish()
        if owner is self.owner:
            self.committed = owner.position

    def archived(self) -> Counter[int]:
        found = Counter[int]()
        for path in (self.root / TOPIC).glob("*/*/*.parquet"):
            found.update(pq.ParquetFile(path).read(columns=["kafka_offset"]).column(0).to_pylist())
        return found

    def hours(self) -> list[int]:
        return sorted(survey(self.root / TOPIC, [PARTITION])[PARTITION].mergeable)


def act(group: Group, kind: str, count: int) -> None:
    owner = group.past[count % len(group.past)] if kind.startswith("past") and group.past else group.owner
    if kind.endswith("take"):
        group.take(owner, count)
    elif kind.endswith("publish"):
        group.publish(owner)
    elif kind.endswith("merge"):
        for hour in group.hours():
            owner.archive.merge(hour)
    elif kind == "new owner":
        group.past.append(group.owner)
        group.assign()


KINDS = {"take": 8, "publish": 6, "merge": 4, "new owner": 2, "past take": 2, "past publish": 4, "past merge": 1}


def programs(seed: int) -> tuple[list[int | None], list[tuple[str, int, Literal["die", "fail", "no"], int]]]:
    """A topic and what happens. From a seed: what hypothesis would make is mostly too short for two things to meet."""
    chance = random.Random(seed)
    topic: list[int | None] = [chance.choice([10, 10, 10, 11, 12, None]) for _ in range(150)]
    program = [
        (kind, chance.randint(1, 6), chance.choice(HOW), chance.randint(0, 24))
        for kind in chance.choices(list(KINDS), list(KINDS.values()), k=60)
    ]
    return topic, program


HOW: list[Literal["die", "fail", "no"]] = ["no", "no", "no", "die", "fail"]


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_each_record_is_archived_once_whatever_dies_when(seed: int) -> None:
    """Crashes between any two steps, failing steps, owners that sleep and go on, merges, other batches after each."""
    topic, program = programs(seed)
    with tempfile.TemporaryDirectory() as folder:
        group = Group(Path(folder), topic)
        expected = [offset for offset, hour in enumerate(topic) if hour is not None]
        for kind, count, how, after in program:
            before = group.owner
            try:
                with Steps(how, after).counted():
                    act(group, kind, count)
            except Killed:
                if kind.startswith("past") and group.past:
                    del group.past[count % len(group.past)]
                elif group.owner is before:
                    group.assign()
            except OSError:
                pass  # the same owner tries again, or not
            archived = group.archived()
            assert all(offset in archived for offset in expected if offset < group.committed)
        group.assign()
        group.take(group.owner, len(topic))
        with Steps("no", 0).counted():
            group.publish(group.owner)
            assert group.archived() == Counter(expected)
            for hour in group.hours():
                while group.owner.archive.merge(hour):
                    assert group.archived() == Counter(expected)
        assert group.archived() == Counter(expected)


def killed_at(root: Path, step: int, kind: Literal["merge", "publish"]) -> bool:
    """Whether a process that publishes two hours, or merges, was killed at that change of a file, or got through."""
    group = Group(root, [10, 11] * 6)
    for _ in range(3):
        group.take(group.owner, 4)
        if kind == "merge":
            group.publish(group.owner)
    try:
        with Steps("die", step).counted():
            act(group, kind, 0)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("kind", ["merge", "publish"])
def test_a_kill_at_each_step_leaves_nothing_that_the_next_owner_does_not_mend(
    tmp_path: Path, kind: Literal["merge", "publish"]
) -> None:
    """When the next one has the partition each record is there once after a merge, and after its first flush anyway."""
    step = 0
    while killed_at(tmp_path / str(step), step, kind):
        group = Group(tmp_path / str(step), [10, 11] * 6)
        if kind == "merge":
            assert group.archived() == Counter(range(12)), f"step {step}"
        group.take(group.owner, 5)
        group.take(group.owner, 7)
        group.publish(group.owner)
        assert group.archived() == Counter(range(12)), f"step {step}"
        assert not list((tmp_path / str(step)).rglob("*.tmp"))
        step += 1
    assert step > 20, "so many changes at least"


@given(spans, st.lists(spans))
def test_what_is_missing_is_what_no_file_covers(span: Span, covered: list[Span]) -> None:
    held = {offset for one in covered for offset in range(one.first, one.last + 1)}
    missing = missing_from(span, covered)
    assert [o for one in missing for o in range(one.first, one.last + 1)] == [
        offset for offset in range(span.first, span.last + 1) if offset not in held
    ]
    assert all(before.last + 1 < after.first for before, after in pairwise(missing))


@given(st.lists(spans))
def test_joined_spans_hold_the_same_offsets(some: list[Span]) -> None:
    held = {offset for one in some for offset in range(one.first, one.last + 1)}
    assert [o for one in joined(some) for o in range(one.first, one.last + 1)] == sorted(held)


@given(st.lists(spans, unique=True))
def test_what_is_redundant_is_what_another_holds(some: list[Span]) -> None:
    left = redundant(some)
    assert set(left) == {one for one in some if any(other != one and other.holds(one) for other in some)}
