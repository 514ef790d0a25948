"""The auditor: a journal of what was written against what stands in the topics. Pure; shares no code with the services.

*missing*: a line that was written and is in neither topic. *extra*: something that was never written. *duplicate*: a
line that stands there again; *explained* when it has the same generation and offset. *reordered*: of one content in one
partition, a line that stands only behind later ones. *corrupt*: fields, original bytes, offset or length are not
those of the line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.journal import Expected, Journal
from tests.chaos.lines import fields_of
from tests.chaos.topic_records import Arrived, TopicRecord, understand

MAX_SAMPLES = 5


class Mode(StrEnum):
    """What the producer promises."""

    EXACTLY_ONCE = "exactly-once"
    AT_LEAST_ONCE = "at-least-once"


class Kind(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    REORDERED = "reordered"
    CORRUPT = "corrupt"


@dataclass
class Finding:
    """How often, and the first few."""

    count: int = 0
    samples: list[str] = field(default_factory=list)

    def add(self, sample: str) -> None:
        self.count += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(sample)


@dataclass
class Audit:
    """The result. `excused` counts missing lines and duplicates that the fault itself explains, by the reason."""

    lines: int
    records: int = 0
    dead_letters: int = 0
    duplicates: int = 0  # all of them, explained or not, excused or not
    findings: dict[Kind, Finding] = field(default_factory=lambda: {kind: Finding() for kind in Kind})
    excused: dict[str, int] = field(default_factory=dict)
    present: bytearray = field(default_factory=bytearray)  # per line, how often it is there; 255 is 255 or more

    @property
    def red(self) -> set[Kind]:
        """The kinds of what was found wrong; empty when all is well."""
        return {kind for kind, finding in self.findings.items() if finding.count}


@dataclass(frozen=True)
class Rules:
    """What may be: duplicates only if `mode` is at-least-once, `faulted`, and they have the same place.

    `lost` and `doubled` name, per line, why this very fault loses or doubles it whoever reads the file.
    """

    mode: Mode
    faulted: bool
    lost: Mapping[int, str] = field(default_factory=dict)
    doubled: Mapping[int, str] = field(default_factory=dict)


def audit(journal: Journal, records: Iterable[TopicRecord], rules: Rules) -> Audit:
    """Compare. Records of one partition have to come in its order; partitions may be mixed."""
    return _Comparison(journal, rules).compare(records)


class _Comparison:
    def __init__(self, journal: Journal, rules: Rules) -> None:
        self._journal = journal
        self._rules = rules
        self._audit = Audit(len(journal), present=bytearray(len(journal)))
        self._generations: dict[str, int] = {}
        self._first_generation = array("l", bytes(array("l").itemsize * len(journal)))
        self._last_in_lane: dict[tuple[bool, int, int], int] = {}
        # A line may stand in two partitions, one of them added since; it is reordered only if nowhere in order.
        self._in_order = bytearray(len(journal))
        self._out_of_order: dict[int, str] = {}
        # Lines without a number in them are found by their place; several contents may have one at the same place.
        self._by_place: dict[tuple[int, int], list[int]] = {}
        for number in journal.odd:
            self._by_place.setdefault(journal.place_of(number), []).append(number)
        self._placed: dict[tuple[str, int, int], int] = {}

    def compare(self, records: Iterable[TopicRecord]) -> Audit:
        for record in records:
            self._take(record)
        for number, count in enumerate(self._audit.present):
            if count == 0:
                self._miss(number)
        for number, sample in self._out_of_order.items():
            if not self._in_order[number]:
                self._add(Kind.REORDERED, sample)
        return self._audit

    def _add(self, kind: Kind, sample: str) -> None:
        self._audit.findings[kind].add(sample)

    def _excuse(self, reason: str) -> None:
        self._audit.excused[reason] = self._audit.excused.get(reason, 0) + 1

    def _take(self, record: TopicRecord) -> None:
        if record.dead_letter:
            self._audit.dead_letters += 1
        else:
            self._audit.records += 1
        arrived = understand(record, self._journal.run)
        where = f"{'dead letters' if record.dead_letter else 'records'} {record.partition}/{record.offset}"
        number = self._number_of(arrived) if arrived else None
        if arrived is None or number is None:
            self._add(Kind.EXTRA, f"{where}: {record.value[:120]!r}")
            return
        if wrong := self._difference(arrived, number):
            self._add(Kind.CORRUPT, f"{where}, line {number}: {wrong}")
        generation = self._generations.setdefault(arrived.generation, len(self._generations))
        count = self._audit.present[number]
        self._audit.present[number] = min(255, count + 1)
        self._place_in_lane(record, number, where)
        if count:
            self._double(number, where, self._first_generation[number] == generation)
        else:
            self._first_generation[number] = generation

    def _place_in_lane(self, record: TopicRecord, number: int, where: str) -> None:
        lane = (record.dead_letter, record.partition, self._journal.content_of(number))
        last = self._last_in_lane.get(lane, -1)
        if number > last:
            self._last_in_lane[lane] = number
            self._in_order[number] = True
        elif not self._in_order[number]:
            self._out_of_order[number] = f"{where}: line {number} behind line {last}"

    def _number_of(self, arrived: Arrived) -> int | None:
        if arrived.number is not None:
            return arrived.number if arrived.number < len(self._journal) else None
        place = (arrived.start, arrived.length)
        known = self._placed.get((arrived.generation, *place))
        if known is None and (waiting := self._by_place.get(place)):
            known = self._placed[(arrived.generation, *place)] = waiting.pop(0)
        return known

    def _double(self, number: int, where: str, same_place: bool) -> None:
        """`same_place`: the offset is right in both, or one of them is corrupt already."""
        self._audit.duplicates += 1
        if reason := self._rules.doubled.get(number):
            self._excuse(reason)
            return
        if self._rules.mode is Mode.AT_LEAST_ONCE and self._rules.faulted and same_place:
            return
        place = "the same place" if same_place else "another generation"
        self._add(Kind.DUPLICATE, f"{where}: line {number} again, with {place}")

    def _miss(self, number: int) -> None:
        odd = self._journal.odd.get(number)
        if odd is not None and odd.expected is Expected.NOTHING_OR_ONE:
            return
        if reason := self._rules.lost.get(number):
            self._excuse(reason)
            return
        content = self._journal.contents[self._journal.content_of(number)]
        self._add(Kind.MISSING, f"line {number}, byte {self._journal.place_of(number)[0]} of {content.name}")

    def _difference(self, arrived: Arrived, number: int) -> str | None:
        """What is not as it was written; None when nothing."""
        if (arrived.start, arrived.length) != self._journal.place_of(number):
            return f"place {(arrived.start, arrived.length)}, written at {self._journal.place_of(number)}"
        odd = self._journal.odd.get(number)
        if odd is None:
            expected = fields_of(self._journal.run, number)
            return None if arrived.fields == expected else f"{arrived.fields or arrived.raw!r} instead of {expected}"
        if arrived.raw is not None:
            return None if odd.expected is not Expected.RECORD and odd.raw.startswith(arrived.raw) else "a dead letter"
        return "a record" if odd.expected is Expected.DEAD_LETTER else None
