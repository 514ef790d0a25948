"""Requests of which it is known which alarms they have to raise, and those alarms against what a webhook was told.

Pure; shares no code with the services: what a window holds is counted here from the numbers that were published.

*missing*: an alarm that was not told. *extra*: told, and nothing that was published raises it. *duplicate*: told
again; explained once for each process that was killed, under the same id, because an answer may come and the process
die before it is noted. *corrupt*: other figures than the window has, or the header is not the id.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.chaos.auditor import Audit, Kind
from tests.chaos.consumers.audit import SinkRules
from tests.chaos.consumers.numbered import value_of

# The time of a request is made of its number: a window of one second holds so many.
REQUESTS_A_WINDOW = 500
BEGIN_S = 1_700_000_000
LATENESS_WINDOWS = 1
SCANNER = "198.51.100.7"
RULES = """
window_s = 1
lateness_s = 1
idle_s = 3600
[server_errors]
share = 0.3
[scan]
paths = 5
[traffic_drop]
enabled = false
[new_top_client]
enabled = false
"""

Name = tuple[str, str | None, str]  # rule, client, begin of the window


@dataclass(frozen=True)
class Told:
    """A delivery that the webhook has answered with 204: the header, and what the body says."""

    key: str
    body: Mapping[str, object]

    @property
    def name(self) -> Name:
        return str(self.body.get("rule")), _client_of(self.body), str(self.body.get("window_start"))


def request(run: str, number: int) -> bytes:
    """In every second window half of the answers are 503; in every third one a client looks for what is not there."""
    changes: dict[str, object] = {"time": _iso(number // REQUESTS_A_WINDOW)}
    if _scans(number):
        changes |= {"status": 404, "client_address": SCANNER}
    elif _fails(number):
        changes |= {"status": 503}
    return json.dumps({**json.loads(value_of(run, number)), **changes}).encode()


def expected(places: Mapping[int, tuple[int, int]]) -> dict[Name, dict[str, int]]:
    """The alarms of all windows that are closed, with their figures: each partition has come past them."""
    newest: dict[int, int] = {}
    windows: defaultdict[int, list[int]] = defaultdict(list)
    for number, (partition, _offset) in places.items():
        newest[partition] = max(newest.get(partition, 0), number // REQUESTS_A_WINDOW)
        windows[number // REQUESTS_A_WINDOW].append(number)
    closed_to = min(newest.values(), default=0) - LATENESS_WINDOWS
    found: dict[Name, dict[str, int]] = {}
    for window, numbers in windows.items():
        if window >= closed_to:
            continue
        if failed := sum(map(_fails, numbers)):
            found["server_errors", None, _iso(window)] = {"requests": len(numbers), "server_errors": failed}
        if scanned := sum(map(_scans, numbers)):
            found["scan", SCANNER, _iso(window)] = {"requests": scanned, "other_clients": 0}
    return found


def audit_alarms(places: Mapping[int, tuple[int, int]], told: Iterable[Told], rules: SinkRules, deaths: int) -> Audit:
    """`lines` and findings are alarms; `present` says which records stand in the windows of those that were told."""
    wanted = expected(places)
    result = Audit(len(wanted), present=bytearray(max(places, default=-1) + 1))
    ids: dict[Name, str] = {}
    times: Counter[Name] = Counter()
    for one in told:
        result.records += 1
        if one.name not in wanted:
            result.findings[Kind.EXTRA].add(str(one.name))
            continue
        times[one.name] += 1
        if (first := ids.setdefault(one.name, one.key)) != one.key:
            result.findings[Kind.DUPLICATE].add(f"{one.name} under another id")
        if one.body.get("values") != wanted[one.name] or one.body.get("id") != first:
            result.findings[Kind.CORRUPT].add(f"{one.body} instead of {wanted[one.name]}")
    _judge_repetitions(result, times, deaths if rules.violent else 0)
    for name in wanted.keys() - times.keys():
        result.findings[Kind.MISSING].add(str(name))
    seen = {start for _rule, _client, start in times}
    for number in places:
        result.present[number] = _iso(number // REQUESTS_A_WINDOW) in seen
    return result


def _judge_repetitions(result: Audit, times: Counter[Name], explained: int) -> None:
    """One at a time is on its way: each process that was killed explains one."""
    repeated = {name: count - 1 for name, count in times.items() if count > 1}
    result.duplicates = sum(repeated.values())
    if result.duplicates > explained:
        for name, count in repeated.items():
            result.findings[Kind.DUPLICATE].add(f"{name} {count} times more, with {explained} killed processes in all")


def _fails(number: int) -> bool:
    return number // REQUESTS_A_WINDOW % 2 == 1 and number % 2 == 0


def _scans(number: int) -> bool:
    return number // REQUESTS_A_WINDOW % 3 == 0 and number % 10 == 5


def _iso(window: int) -> str:
    return datetime.fromtimestamp(BEGIN_S + window, UTC).isoformat().replace("+00:00", "Z")


def _client_of(body: Mapping[str, object]) -> str | None:
    client = body.get("client")
    return None if client is None else str(client)
