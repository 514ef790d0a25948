"""The auditor of the consumer's sinks finds what it has to find."""

from __future__ import annotations

from tests.chaos.auditor import Audit, Kind
from tests.chaos.consumers.audit import SinkRules, Taken, audit_sink

PLACES = {number: (number % 2, number // 2) for number in range(6)}
STRICT = SinkRules(exactly_once=True, violent=True)


def audited(taken: list[Taken], rules: SinkRules = STRICT) -> Audit:
    return audit_sink(PLACES, taken, rules)


def all_of_them() -> list[Taken]:
    return [Taken(number, PLACES[number]) for number in PLACES]


def test_all_is_well() -> None:
    assert audited(all_of_them()).red == set()


def test_partitions_may_be_mixed() -> None:
    assert audited([Taken(number) for number in (1, 3, 0, 2, 5, 4)]).red == set()


def test_one_is_missing() -> None:
    assert audited(all_of_them()[:-1]).red == {Kind.MISSING}


def test_one_that_a_fault_keeps_back_is_counted_apart() -> None:
    result = audited(all_of_them()[:-1], SinkRules(exactly_once=True, violent=True, lost={5: "dead letter"}))
    assert result.red == set()
    assert result.excused == {"dead letter": 1}


def test_one_is_there_again() -> None:
    again = [*all_of_them(), Taken(0, PLACES[0])]
    assert audited(again).red == {Kind.DUPLICATE}
    assert audited(again, SinkRules(exactly_once=False, violent=False)).red == {Kind.DUPLICATE}
    explained = audited(again, SinkRules(exactly_once=False, violent=True))
    assert explained.red == set()
    assert explained.duplicates == 1


def test_one_was_never_published() -> None:
    assert audited([*all_of_them(), Taken(99)]).red == {Kind.EXTRA}
    assert audited([*all_of_them(), Taken(None)]).red == {Kind.EXTRA}


def test_one_comes_behind_a_later_one_of_its_partition() -> None:
    assert audited([Taken(number) for number in (0, 1, 4, 2, 3, 5)]).red == {Kind.REORDERED}


def test_one_stands_where_it_was_not_published() -> None:
    assert audited([Taken(0, (1, 7)), *all_of_them()[1:]]).red == {Kind.CORRUPT}
