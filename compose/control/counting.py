"""Counting what `make verify` wrote and what came out, and judging the difference. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from compose.control.stack import Replica
from shared.kafka.groups import Group

# Enough clients that eight partitions, or sixty-four, all get some of them.
CLIENT_COUNT = 250
SHOWN_EXAMPLES = 5
_VARIABLE = re.compile(r"\$\{?(?P<name>\w+)\}?")
_COMMON = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
_COMBINED_TAIL = ' "$http_referer" "$http_user_agent"'
_TAILS = {"common": "", "main": _COMBINED_TAIL + ' "-"'}


def marker(run_id: str) -> str:
    """What every line of a run holds, and no other line does."""
    return f"/verify/{run_id}/"


def marked_lines(run_id: str, first: int, count: int, now: datetime, log_format: str) -> Iterator[str]:
    """Lines of an access log that name their run and number. Addresses are of a block kept for documentation."""
    text = log_format if "$" in log_format else _COMMON + _TAILS.get(log_format, _COMBINED_TAIL)
    text = re.sub(r"^\s*escape=\w+\s+", "", text)
    of_all = {
        "time_local": now.strftime("%d/%b/%Y:%H:%M:%S %z"),
        "time_iso8601": now.isoformat(timespec="seconds"),
        "msec": f"{now.timestamp():.3f}",
        "request_method": "GET",
        "server_protocol": "HTTP/1.1",
        "status": "200",
        "body_bytes_sent": "17",
        "http_user_agent": "make verify",
        "is_args": "",
        "args": "",
    }
    for number in range(first, first + count):
        path = f"{marker(run_id)}{number}"
        targets = {"request": f"GET {path} HTTP/1.1", "request_uri": path, "uri": path}
        values = {**of_all, **targets, "remote_addr": f"198.51.100.{number % CLIENT_COUNT + 1}"}
        yield _written(text, values)


def _written(text: str, values: Mapping[str, str]) -> str:
    """A line of the format, with a hyphen for what has no value."""
    return _VARIABLE.sub(lambda found: values.get(found["name"], "-"), text)


def numbers_in(values: Iterable[str | bytes], run_id: str) -> Iterator[int]:
    """The numbers of marked records, from their JSON values or from the stdout sink's lines around them.

    What is no such record, a log line that quotes one for instance, is left out.
    """
    prefix = marker(run_id)
    for value in values:
        path = _path_in(value)
        if path.startswith(prefix):
            yield int(path.removeprefix(prefix))


def _path_in(value: str | bytes) -> str:
    """The path of a record; empty when there is none."""
    try:
        found = json.loads(value)
        return str(found.get("record", found)["path"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


@dataclass(frozen=True)
class Tally:
    """How often each of `expected` numbers, counted from 0, was seen."""

    expected: int
    counts: Mapping[int, int]

    @property
    def received(self) -> int:
        """Different numbers seen."""
        return len(self.counts)

    @property
    def doubled(self) -> tuple[int, ...]:
        """Numbers seen more than once."""
        return tuple(sorted(number for number, count in self.counts.items() if count > 1))

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers never seen."""
        return tuple(number for number in range(self.expected) if number not in self.counts)


def tally(numbers: Iterable[int], expected: int) -> Tally:
    """Count them."""
    return Tally(expected, Counter(numbers))


def contested_partitions(group: Group) -> tuple[int, ...]:
    """Partitions that two members of the group own at once: must be none, ever."""
    owners = Counter(partition for member in group.members for partition in member.partitions)
    return tuple(sorted(partition for partition, count in owners.items() if count > 1))


@dataclass(frozen=True)
class Snapshot:
    """The stack at one moment."""

    groups: Mapping[str, Group]
    replicas: Sequence[Replica]


def explanations(before: Snapshot, after: Snapshot, group: str, service: str) -> tuple[str, ...]:
    """What happened to a group between two moments that entitles it to repeat records, one sentence each."""
    found = []
    then, now = _members(before.groups.get(group)), _members(after.groups.get(group))
    if then != now:
        found.append(f"group {group} rebalanced: {len(then)} members before, {len(now)} after")
    found += [f"{name} was started again" for name in restarted(before, after, service)]
    return tuple(found)


def restarted(before: Snapshot, after: Snapshot, *services: str) -> tuple[str, ...]:
    """Replicas of these services that are not the process they were, or are gone."""
    now = {replica.name: replica.started_at for replica in after.replicas}
    return tuple(
        replica.name
        for replica in before.replicas
        if replica.service in services and replica.running and now.get(replica.name) != replica.started_at
    )


def _members(group: Group | None) -> Mapping[str, tuple[int, ...]]:
    return {member.member_id: member.partitions for member in group.members} if group else {}


@dataclass(frozen=True)
class Finding:
    """One thing that was counted: the topic or a group."""

    name: str
    tally: Tally
    explanations: tuple[str, ...]
    contested: tuple[int, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this fails, one sentence each; empty when it passes."""
        found = []
        if self.tally.missing:
            found.append(f"{self.name}: {len(self.tally.missing)} records missing, {_examples(self.tally.missing)}")
        if self.tally.doubled and not self.explanations:
            found.append(
                f"{self.name}: {len(self.tally.doubled)} records doubled and nothing explains it, "
                f"{_examples(self.tally.doubled)}"
            )
        if self.contested:
            found.append(f"{self.name}: two members own partition {', '.join(map(str, self.contested))} at once")
        return tuple(found)


def _examples(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN_EXAMPLES])
    return f"numbers {shown}{', …' if len(numbers) > SHOWN_EXAMPLES else ''}"
