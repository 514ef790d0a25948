"""The auditor finds what is wrong, and only that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.auditor import Audit, Kind, Mode, Rules, audit
from tests.chaos.files import LogFile
from tests.chaos.journal import Expected, Journal
from tests.chaos.lines import fields_of, mark
from tests.chaos.topic_records import TopicRecord

RUN = "c0ffee"
EXACTLY_ONCE = Rules(Mode.EXACTLY_ONCE, faulted=True)
AT_LEAST_ONCE = Rules(Mode.AT_LEAST_ONCE, faulted=True)
NAMES = ("client_address", "path", "query", "status", "body_bytes", "referrer", "user_agent")


@pytest.fixture
def journal() -> Journal:
    return Journal(RUN)


@pytest.fixture
def log(journal: Journal, tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "access.log", journal)


def record(journal: Journal, number: int, generation: str = "g", partition: int = 0) -> TopicRecord:
    """The record that a right producer makes of this line."""
    start, length = journal.place_of(number)
    source = {"generation": generation, "offset": start, "length": length}
    value = {**dict(zip(NAMES, fields_of(RUN, number), strict=True)), "source": source}
    return TopicRecord(False, partition, number, 0, json.dumps(value).encode(), {})


def dead_letter(journal: Journal, number: int, raw: bytes, generation: str = "g") -> TopicRecord:
    start, length = journal.place_of(number)
    headers = {
        "dlt-source-generation": generation.encode(),
        "dlt-source-offset": b"%d" % start,
        "dlt-raw-length": b"%d" % length,
    }
    return TopicRecord(True, 0, number, 0, raw, headers)


def counts(found: Audit) -> dict[Kind, int]:
    return {kind: finding.count for kind, finding in found.findings.items() if finding.count}


def test_all_there_is_clean(journal: Journal, log: LogFile) -> None:
    """In both modes."""
    records = [record(journal, number) for number in log.write(100)]
    assert counts(audit(journal, records, EXACTLY_ONCE)) == {}
    assert counts(audit(journal, records, AT_LEAST_ONCE)) == {}
    assert journal.changed_writes() == []


def test_what_is_not_there_is_missing(journal: Journal, log: LogFile) -> None:
    """Named by its file and byte."""
    records = [record(journal, number) for number in log.write(100) if number != 42]
    found = audit(journal, records, EXACTLY_ONCE)
    assert counts(found) == {Kind.MISSING: 1}
    assert found.findings[Kind.MISSING].samples == [f"line 42, byte {journal.place_of(42)[0]} of access.log"]


def test_a_duplicate_is_red_where_it_is_promised_away(journal: Journal, log: LogFile) -> None:
    """Exactly-once: always. At-least-once: without a fault, or with another place."""
    records = [record(journal, number) for number in log.write(10)]
    assert counts(audit(journal, [*records, records[3]], EXACTLY_ONCE)) == {Kind.DUPLICATE: 1}
    assert counts(audit(journal, [*records, records[3]], AT_LEAST_ONCE)) == {}
    quiet = replace(AT_LEAST_ONCE, faulted=False)
    assert counts(audit(journal, [*records, records[3]], quiet)) == {Kind.DUPLICATE: 1}
    other = record(journal, 3, generation="another")
    assert counts(audit(journal, [*records, other], AT_LEAST_ONCE)) == {Kind.DUPLICATE: 1}


def test_duplicates_are_counted_even_when_explained(journal: Journal, log: LogFile) -> None:
    """The report shows them."""
    records = [record(journal, number) for number in log.write(10)]
    assert audit(journal, [*records, *records], AT_LEAST_ONCE).duplicates == 10


def test_what_nobody_wrote_is_extra(journal: Journal, log: LogFile) -> None:
    """A number too high, a value that is no record, a line of another run."""
    records = [record(journal, number) for number in log.write(10)]
    later = Journal(RUN)
    LogFile(log.path.with_name("other.log"), later).write(11)
    junk = TopicRecord(False, 0, 11, 0, b"junk", {})
    foreign = replace(records[0], value=records[0].value.replace(RUN.encode(), b"decade"))
    found = audit(journal, [*records, record(later, 10), junk, foreign], EXACTLY_ONCE)
    assert counts(found) == {Kind.EXTRA: 3}


def test_a_later_line_first_is_reordered(journal: Journal, log: LogFile) -> None:
    """Within one partition and content; partitions and contents are independent."""
    log.write(3)
    swapped = [record(journal, number) for number in (0, 2, 1)]
    assert counts(audit(journal, swapped, EXACTLY_ONCE)) == {Kind.REORDERED: 1}
    apart = [record(journal, number, partition=number) for number in (0, 2, 1)]
    assert counts(audit(journal, apart, EXACTLY_ONCE)) == {}
    again_elsewhere = [
        record(journal, number, partition=part) for number, part in ((1, 1), (0, 1), (0, 0), (1, 0), (2, 0))
    ]
    assert counts(audit(journal, again_elsewhere, AT_LEAST_ONCE)) == {}
    log.rotate(log.path.with_name("access.log.1"))
    log.write(1)
    files = [record(journal, 3, "h"), *(record(journal, number) for number in (0, 1, 2))]
    assert counts(audit(journal, files, EXACTLY_ONCE)) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace(b'"status": 200', b'"status": 201'),
        lambda value: value.replace(b'"offset": 0', b'"offset": 1'),
        lambda value: value.replace(b'"length": ', b'"length": 1'),
        lambda value: value.replace(b"10.0.0.0", b"10.0.0.1"),
    ],
)
def test_what_is_not_as_it_was_written_is_corrupt(journal: Journal, log: LogFile, change: object) -> None:
    """A field, the offset, the length."""
    log.write(1)
    right = record(journal, 0)
    assert callable(change)
    wrong = replace(right, value=change(right.value))
    assert wrong.value != right.value
    assert counts(audit(journal, [wrong], EXACTLY_ONCE)) == {Kind.CORRUPT: 1}


def test_dead_letters_hold_the_original_bytes(journal: Journal, log: LogFile) -> None:
    """Those of a line with a number, and of one that can only be told by its place."""
    marked = b"\x00 no log line " + mark(RUN, 0)
    log.write_odd(marked, Expected.DEAD_LETTER)
    log.write_odd(b"\xff\xfe", Expected.DEAD_LETTER)
    letters = [dead_letter(journal, 0, marked), dead_letter(journal, 1, b"\xff\xfe")]
    assert counts(audit(journal, letters, EXACTLY_ONCE)) == {}
    letters[1] = dead_letter(journal, 1, b"\xff\xff")
    assert counts(audit(journal, letters, EXACTLY_ONCE)) == {Kind.CORRUPT: 1}


def test_equal_places_in_two_files_are_two_lines(journal: Journal, log: LogFile) -> None:
    """Without a number they are told by their generations."""
    log.write_odd(b"same", Expected.DEAD_LETTER)
    LogFile(log.path.with_name("other.log"), journal).write_odd(b"same", Expected.DEAD_LETTER)
    both = [dead_letter(journal, 0, b"same", "g"), dead_letter(journal, 1, b"same", "h")]
    assert counts(audit(journal, both, EXACTLY_ONCE)) == {}
    assert counts(audit(journal, [both[0], both[0]], EXACTLY_ONCE)) == {Kind.MISSING: 1, Kind.DUPLICATE: 1}


def test_a_line_without_a_promise_may_be_there_or_not(journal: Journal, log: LogFile) -> None:
    """A blank line."""
    log.write_odd(b"", Expected.NOTHING_OR_ONE)
    assert counts(audit(journal, [], EXACTLY_ONCE)) == {}
    assert counts(audit(journal, [dead_letter(journal, 0, b"")], EXACTLY_ONCE)) == {}


def test_what_the_fault_takes_is_counted_apart(journal: Journal, log: LogFile) -> None:
    """And nothing beside it is forgiven."""
    log.write(10)
    rules = replace(EXACTLY_ONCE, lost={0: "truncated", 1: "truncated"})
    found = audit(journal, [record(journal, number) for number in range(3, 10)], rules)
    assert counts(found) == {Kind.MISSING: 1}
    assert found.excused == {"truncated": 2}


def test_a_journal_that_lies_is_noticed(journal: Journal, log: LogFile) -> None:
    """Its hash is that of the bytes that were written."""
    log.write(5)
    journal.writes[0] = replace(journal.writes[0], sha256=b"")
    assert len(journal.changed_writes()) == 1
