"""The auditor of alarms knows which there have to be, and finds what it has to find."""

from __future__ import annotations

import json

from tests.chaos.auditor import Audit, Kind
from tests.chaos.consumers.alarms import BEGIN_S, REQUESTS_A_WINDOW, SCANNER, Told, audit_alarms, expected, request
from tests.chaos.consumers.audit import SinkRules

# Six windows in two partitions; the last two are open still.
PLACES = {number: (number % 2, number // 2) for number in range(6 * REQUESTS_A_WINDOW)}
STRICT = SinkRules(exactly_once=False, violent=False)
VIOLENT = SinkRules(exactly_once=False, violent=True)


def all_of_them() -> list[Told]:
    return [
        Told(
            key := str(number),
            {"id": key, "rule": rule, "client": client, "window_start": start, "values": values},
        )
        for number, ((rule, client, start), values) in enumerate(expected(PLACES).items())
    ]


def audited(told: list[Told], rules: SinkRules = STRICT, deaths: int = 0) -> Audit:
    return audit_alarms(PLACES, told, rules, deaths)


def test_windows_that_every_partition_has_passed_raise_alarms() -> None:
    assert expected(PLACES) == {
        ("scan", SCANNER, "2023-11-14T22:13:20Z"): {"requests": 50, "other_clients": 0},
        ("server_errors", None, "2023-11-14T22:13:21Z"): {"requests": 500, "server_errors": 250},
        ("server_errors", None, "2023-11-14T22:13:23Z"): {"requests": 500, "server_errors": 250},
        ("scan", SCANNER, "2023-11-14T22:13:23Z"): {"requests": 50, "other_clients": 0},
    }


def test_the_slowest_partition_holds_windows_open() -> None:
    slow = {number: place for number, place in PLACES.items() if place[0] == 0 or number < REQUESTS_A_WINDOW}
    assert expected(slow) == {}


def test_what_is_published_is_what_is_expected_of_it() -> None:
    records = [json.loads(request("run", number)) for number in range(2 * REQUESTS_A_WINDOW)]
    assert sum(record["status"] == 404 and record["client_address"] == SCANNER for record in records) == 50
    assert sum(record["status"] == 503 for record in records) == 250
    assert BEGIN_S == 1_700_000_000
    assert {record["time"] for record in records} == {"2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"}


def test_all_is_well() -> None:
    result = audited(all_of_them())
    assert result.red == set()
    assert result.lines == 4
    assert sum(result.present) == 3 * REQUESTS_A_WINDOW


def test_an_alarm_is_not_told() -> None:
    assert audited(all_of_them()[1:]).red == {Kind.MISSING}


def test_an_alarm_is_told_again() -> None:
    again = [*all_of_them(), all_of_them()[0]]
    assert audited(again).red == {Kind.DUPLICATE}
    assert audited(again, STRICT, deaths=1).red == {Kind.DUPLICATE}
    explained = audited(again, VIOLENT, deaths=1)
    assert explained.red == set()
    assert explained.duplicates == 1
    assert audited([*again, all_of_them()[1]], VIOLENT, deaths=1).red == {Kind.DUPLICATE}


def test_an_alarm_is_told_again_under_another_id() -> None:
    first = all_of_them()[0]
    assert Kind.DUPLICATE in audited([*all_of_them(), Told("x", {**first.body, "id": "x"})], VIOLENT, deaths=1).red


def test_an_alarm_has_other_figures_or_another_header() -> None:
    first, *rest = all_of_them()
    assert audited([Told(first.key, {**first.body, "values": {}}), *rest]).red == {Kind.CORRUPT}
    assert audited([Told("other", first.body), *rest]).red == {Kind.CORRUPT}


def test_an_alarm_that_nothing_raises() -> None:
    first = all_of_them()[0]
    assert audited([*all_of_them(), Told("x", {**first.body, "rule": "traffic_drop"})]).red == {Kind.EXTRA}
