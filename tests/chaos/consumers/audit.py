"""What was published against what a sink has. Pure; shares no code with the services.

*missing*: published and not in the sink. *extra*: in the sink and never published. *duplicate*: there again; explained
where the sink promises at least once and the fault was a violent one. *reordered*: of one partition, first seen behind
a later one. *corrupt*: not the place in the topic that it was published at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.auditor import Audit, Kind


@dataclass(frozen=True)
class Taken:
    """A record as the sink has it, in the sink's own order. `place`: partition and offset, where the sink keeps them.

    `number` is None for what is none of ours.
    """

    number: int | None
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class SinkRules:
    """`exactly_once`: a duplicate is never explained. `violent`: the fault explains duplicates of other sinks.

    `lost` names, per number, why this fault keeps it from every sink.
    """

    exactly_once: bool
    violent: bool
    lost: Mapping[int, str] = field(default_factory=dict)


def audit_sink(places: Mapping[int, tuple[int, int]], taken: Iterable[Taken], rules: SinkRules) -> Audit:
    """`places`: partition and offset by number, of all that was published."""
    result = Audit(len(places), present=bytearray(max(places, default=-1) + 1))
    newest: dict[int, int] = {}
    for one in taken:
        result.records += 1
        place = places.get(one.number) if one.number is not None else None
        if one.number is None or place is None:
            result.findings[Kind.EXTRA].add(str(one))
            continue
        if one.place is not None and one.place != place:
            result.findings[Kind.CORRUPT].add(f"{one.number} stands at {one.place}, was published at {place}")
        result.present[one.number] = min(255, result.present[one.number] + 1)
        if result.present[one.number] > 1:
            _double(result, one.number, place, rules)
        elif place[1] < newest.get(place[0], -1):
            result.findings[Kind.REORDERED].add(f"{one.number} at {place}")
        newest[place[0]] = max(place[1], newest.get(place[0], -1))
    for number, place in places.items():
        if not result.present[number]:
            _miss(result, number, place, rules)
    return result


def _double(result: Audit, number: int, place: tuple[int, int], rules: SinkRules) -> None:
    result.duplicates += 1
    if rules.exactly_once or not rules.violent:
        result.findings[Kind.DUPLICATE].add(f"{number} at {place}")


def _miss(result: Audit, number: int, place: tuple[int, int], rules: SinkRules) -> None:
    if (reason := rules.lost.get(number)) is None:
        result.findings[Kind.MISSING].add(f"{number} at {place}")
    else:
        result.excused[reason] = result.excused.get(reason, 0) + 1
