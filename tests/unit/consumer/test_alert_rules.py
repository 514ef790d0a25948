"""The file of rules, and what a window says by them."""

from __future__ import annotations

import pytest

from services.consumer.sinks.alerts.judge import MAX_SCANNING_CLIENTS, judge
from services.consumer.sinks.alerts.rules import Rules, parse_rules
from services.consumer.sinks.alerts.window import Observation, Past, Window, observe
from shared.errors import InvalidSettings
from tests.unit.consumer.records import batch


def window(*seen: tuple[str, int, int | None], rules: Rules | None = None) -> Window:
    """Of clients with a status and, for a 404, the hash of a path."""
    made = Window()
    for offset, (client, status, missing_path) in enumerate(seen):
        made.count(Observation(offset, 0, status, client, missing_path), rules or Rules())
    return made


def found(one: Window, rules: str, *past: Past) -> list[tuple[str, str]]:
    return [(finding.rule, finding.client) for finding in judge(one, past, parse_rules(rules, "rules.toml"))]


ONLY_ERRORS = "scan.enabled = false\n[server_errors]\nshare = 0.5\nmin_requests = 4"
ONLY_SCAN = "server_errors.enabled = false\n[scan]\npaths = 2"
ONLY_DROP = "[traffic_drop]\nshare = 0.5\nwindows = 2\nmin_requests = 10"
ONLY_TOP = "server_errors.enabled = false\n[new_top_client]\nshare = 0.5\nwindows = 2\nmin_requests = 4"


@pytest.mark.parametrize(
    ("errors", "others", "alarm"), [(3, 1, True), (2, 2, False), (3, 0, False), (0, 10, False), (9, 1, True)]
)
def test_a_share_of_server_errors_above_the_limit_in_enough_requests(errors: int, others: int, alarm: bool) -> None:
    one = window(*[("a", 503, None)] * errors, *[("a", 404, 1)] * others)
    assert found(one, ONLY_ERRORS) == [("server_errors", "")] * alarm


def test_more_different_missing_paths_than_allowed_are_a_scan() -> None:
    """The same path many times is none."""
    seen = (
        [("scanner", 404, path) for path in range(3)] + [("lost", 404, 7)] * 50 + [("fine", 404, 1), ("fine", 404, 2)]
    )
    assert found(window(*seen), ONLY_SCAN) == [("scan", "scanner")]


def test_a_scan_from_very_many_clients_is_a_bounded_number_of_alarms() -> None:
    seen = [(f"client-{client:03}", 404, path) for client in range(50) for path in range(3)]
    findings = judge(window(*seen), (), parse_rules(ONLY_SCAN, "rules.toml"))
    assert [one.client for one in findings] == [f"client-{client:03}" for client in range(MAX_SCANNING_CLIENTS)]
    assert findings[0].values["other_clients"] == 50 - MAX_SCANNING_CLIENTS


@pytest.mark.parametrize(
    ("past", "requests", "alarm"),
    [((20, 20), 9, True), ((20, 20), 10, False), ((20, 20), 0, True), ((20,), 0, False), ((9, 9), 0, False)],
)
def test_a_drop_below_the_share_of_a_mean_that_says_something(
    past: tuple[int, ...], requests: int, alarm: bool
) -> None:
    one = window(*[("a", 200, None)] * requests)
    assert found(one, ONLY_DROP, *(Past(count, ["a"]) for count in past)) == [("traffic_drop", "")] * alarm


@pytest.mark.parametrize(
    ("seen", "past", "alarm"),
    [
        ("nnna", (["a"], ["b"]), True),
        ("nnna", (["a"], ["b", "n"]), False),
        ("nnna", (["a"],), False),
        ("nnn", (["a"], ["b"]), False),
        ("nabcd", (["a"], ["n"]), False),
    ],
)
def test_the_first_client_is_new(seen: str, past: tuple[list[str], ...], alarm: bool) -> None:
    one = window(*[(client, 200, None) for client in seen])
    assert found(one, ONLY_TOP, *(Past(4, clients) for clients in past)) == [("new_top_client", "n")] * alarm


def test_a_rule_that_is_disabled_finds_nothing() -> None:
    one = window(*[("a", 503, None)] * 10)
    assert found(one, ONLY_ERRORS + "\nenabled = false") == []


def test_what_has_no_room_is_told_and_still_counts_in_the_total() -> None:
    rules = Rules(max_clients=1, max_paths=2)
    one = Window()
    told = [
        one.count(Observation(0, 0, status, client, path), rules)
        for client, status, path in [
            ("a", 404, 1),
            ("b", 500, None),
            ("a", 404, 2),
            ("a", 404, 3),
            ("a", 404, 2),
            ("a", 200, None),
        ]
    ]
    assert told == [True, False, True, False, True, True]
    assert (one.requests, one.server_errors, one.clients, one.missing_count) == (6, 1, {"a": 5}, 2)


def test_of_paths_no_more_are_kept_than_the_rule_asks_for() -> None:
    """A scan of a million paths takes the memory of a few."""
    one = window(*[("a", 404, path) for path in range(1000)], rules=parse_rules(ONLY_SCAN, "rules.toml"))
    assert one.missing_count == len(one.missing["a"]) == 3


def test_a_record_is_observed_in_milliseconds_and_paths_only_where_they_are_missing() -> None:
    record = batch(7, 1).records[0]
    assert observe(record, 7) == Observation(7, 1_431_857_103_000, 200, "192.0.2.1", None)
    missing = observe(record.model_copy(update={"status": 404, "client_address": "x" * 1000}), 7)
    assert missing.missing_path is not None
    assert len(missing.client) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[server_errors]\nshare = 1.5",
            "[server_errors] share = 1.5 is not allowed; it must be a number above 0 to 1",
        ),
        ("[scan]\npaths = '9'", "[scan] paths = '9' is not allowed; it must be a whole number from 1 to 1000."),
        ("[scan]\npahts = 9", "[scan] pahts is unknown. Known are enabled, paths."),
        ("[sacn]\npaths = 9", "sacn is unknown. Known are window_s, lateness_s, idle_s,"),
        ("window_s = 0", "window_s = 0 is not allowed; it must be a whole number from 1 to 86400."),
        ("scan = 3", "scan = 3 is not allowed; it must be a table of its keys."),
        ("[scan]\nenabled = 1", "[scan] enabled = 1 is not allowed; it must be true or false."),
        ("window_s =", "is no TOML: Invalid value (at "),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_rule_key_value_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        parse_rules(text, "rules.toml")
    assert str(raised.value).startswith("ALERTS_FILE=rules.toml")
    assert message in str(raised.value)


def test_every_problem_of_a_file_is_told_at_once() -> None:
    with pytest.raises(InvalidSettings) as raised:
        parse_rules("window_s = 0\n[scan]\npaths = 0", "rules.toml")
    assert len(str(raised.value).splitlines()) == 2
