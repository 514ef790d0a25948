"""The demo's traffic: the same for the same seed, and as varied as the logs it stands for."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from services.demo.traffic import OddKind, OddVisit, Visit, make_traffic


def first_visits(count: int, seed: int = 1) -> list[Visit | OddVisit]:
    return list(islice(make_traffic(seed), count))


def test_same_seed_gives_the_same_traffic() -> None:
    assert first_visits(500) == first_visits(500)
    assert first_visits(500) != first_visits(500, seed=2)


def test_traffic_has_every_kind_of_request() -> None:
    """Someone who looks at two thousand records has seen what a server sees."""
    visits = first_visits(2_000)
    plain = [visit for visit in visits if isinstance(visit, Visit)]
    assert {visit.status for visit in plain} >= {200, 301, 302, 304, 403, 404, 405, 500, 502, 503}
    assert {visit.method for visit in plain} >= {"GET", "HEAD", "POST", "DELETE"}
    assert {visit.kind for visit in visits if isinstance(visit, OddVisit)} == set(OddKind)
    assert any(b"?" in visit.target for visit in plain)
    assert any(b"%C3" in visit.target for visit in plain)
    assert any(visit.user_agent is None for visit in plain)
    assert any(visit.referrer for visit in plain)
    assert any(visit.forwarded_for for visit in plain)


def test_some_targets_are_utf_8_and_some_are_no_utf_8_at_all() -> None:
    raw = {visit.target for visit in first_visits(2_000) if isinstance(visit, Visit) and not visit.target.isascii()}
    assert "/articles/\u043f\u0440\u0438\u0432\u0435\u0442".encode() in raw
    assert b"/articles/stra\xdfe" in raw


def test_few_clients_make_much_of_the_traffic() -> None:
    """Partitions by client are uneven in life as well."""
    clients = Counter(visit.client_address for visit in first_visits(5_000))
    assert len(clients) > 40
    assert clients.most_common(1)[0][1] > 5 * 5_000 / len(clients) / 2


def test_requests_fit_on_one_line() -> None:
    """A newline in a target would end the request line early and spoil the connection."""
    for visit in first_visits(2_000):
        assert b"\n" not in visit.request_line
        assert b"\r" not in visit.request_line
