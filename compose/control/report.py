"""What the verbs print: tables and colours on a terminal, plain text elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from compose.control import ledger_view
from compose.control.counting import Finding
from compose.control.groups_view import GroupView, members_of, remarks
from compose.control.reset_plan import Move
from compose.control.stack import Replica
from compose.errors import OperatorError
from shared.kafka.groups import Group
from shared.kafka.lag import GroupsSeen

PLAIN_WIDTH = 140
PROGRESS_STEP = 10
RIGHT_COLUMNS = frozenset(
    (
        "port",
        "lag",
        "received",
        "doubled",
        "missing",
        "committed",
        "end",
        "partition",
        "records/s",
        "behind",
        "from",
        "to",
        *ledger_view.COLUMNS[1:-1],
    )
)

console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line, as it is."""
    console.print(escape(line))


def good(line: str) -> None:
    """One line of good news."""
    console.print(f"[green]{escape(line)}[/]")


def bad(line: str) -> None:
    """One line of bad news."""
    console.print(f"[red]{escape(line)}[/]")


def failure(error: OperatorError) -> None:
    """What happened and what to do now, on stderr."""
    errors.print(f"[red]{escape(str(error))}[/]")
    errors.print(f"Next: {escape(error.next_step)}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in RIGHT_COLUMNS else "left", overflow="fold")
    return table


@contextmanager
def counting_progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yields a function to call with (done, in all, name of the last): a bar on a terminal, some lines elsewhere."""
    if not console.is_terminal:
        yield lambda done, total, _name: say(f"  {what}: {done} of {total}") if _worth_a_line(done, total) else None
        return
    with Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[name]}")) as progress:
        task = progress.add_task(what, total=None, name="")
        yield lambda done, total, name: progress.update(task, completed=done, total=total, name=name)


def _worth_a_line(done: int, total: int) -> bool:
    return done % PROGRESS_STEP == 0 or done == total


def show_replicas(replicas: Sequence[Replica]) -> None:
    """Processes or containers with their health."""
    table = _table("What runs", "name", "state", "health", "port")
    for replica in replicas:
        port = "" if replica.port is None else str(replica.port)
        table.add_row(replica.name, replica.state, escape(replica.health), port)
    console.print(table)


def show_files(name: str, document: ledger_view.Document) -> None:
    """Every file with what became of its lines, and a line on all of them."""
    table = _table(f"What {name} reads: lines, sizes in bytes", *ledger_view.columns(document))
    for row in ledger_view.rows(document):
        table.add_row(*map(escape, row))
    console.print(table)
    if document["files_left_out"]:
        say(f"and {document['files_left_out']} files more that move or are done")
    say(ledger_view.summary(document))
    if stuck := ledger_view.stuck_count(document):
        bad(f"{stuck} files do not move.")


def show_groups(groups: Sequence[Group], end_offsets: Mapping[int, int]) -> None:
    """Groups, members, partitions and lag; a lag that is not known is said to be so."""
    table = _table("Who reads what", "group", "member", "partition", "committed", "end", "lag")
    for group in groups:
        for member, partition in _rows(group, sorted(end_offsets)):
            committed, end = group.committed.get(partition), end_offsets.get(partition)
            lag = _lag(committed, end)
            table.add_row(
                group.name, member, str(partition), "-" if committed is None else str(committed), str(end), lag
            )
        for member in _idle(group):
            table.add_row(group.name, member, "-", "-", "-", "idle")
        if not group.members:
            table.add_row(group.name, f"(no members, {group.state.lower()})", "", "", "", "")
    console.print(table)


def show_group_views(groups: Sequence[GroupView], seen: GroupsSeen) -> None:
    """Groups, members, partitions: committed, lag in records and in time, rate."""
    for group in groups:
        title = f"{escape(group.group)}: {_known(group.state, 'state unknown').lower()}, {members_of(group)}, "
        title += f"lag {_known(group.lag)}, {_rate(group.rate_per_s)} records/s"
        table = _table(title, "partition", "member", "host", "committed", "end", "lag", "behind", "records/s")
        hosts = {one.member: one.host for one in group.members}
        for one in group.partitions:
            owner = "nobody" if one.member is None else short(one.member)
            table.add_row(
                str(one.partition),
                escape(owner),
                escape(hosts.get(one.member or "", "")),
                _known(one.committed, "-"),
                str(one.end),
                _known(one.lag),
                span_of(one.lag_s),
                _rate(one.rate_per_s),
            )
        for member in group.members:
            if member.idle_because:
                table.add_row("-", escape(short(member.member)), escape(member.host), "-", "-", "idle", "", "")
        console.print(table)
        for remark in remarks(group):
            say(f"  {remark}")
    if not groups:
        say("No group reads this topic.")
    if seen.left_out:
        say(f"Groups of other topics, left out: {seen.left_out}.")


def _known(value: object, otherwise: str = "unknown") -> str:
    return otherwise if value is None else str(value)


def _rate(rate_per_s: float | None) -> str:
    return "unknown" if rate_per_s is None else f"{rate_per_s:,.0f}"


def span_of(seconds: float | None) -> str:
    """A span of time in the unit that a person would use."""
    if seconds is None:
        return "unknown"
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:,.0f} {unit}"
    return f"{seconds:.1f} s"


def show_moves(group: Group, moves: Sequence[Move]) -> None:
    """Where a group is to go on, before anything is changed."""
    if not group.committed:
        bad(f"Group {group.name} has committed nothing in this topic so far. Is that its name? make groups lists them.")
    table = _table(f"{escape(group.name)}: where it is to go on", "partition", "from", "to", "records")
    for move in moves:
        table.add_row(str(move.partition), _known(move.committed, "-"), str(move.to), move.effect)
    console.print(table)


def show_committed(group: Group) -> None:
    """What the broker says that a group has committed."""
    table = _table(f"{escape(group.name)}: committed now", "partition", "committed")
    for partition, offset in sorted(group.committed.items()):
        table.add_row(str(partition), str(offset))
    console.print(table)


def _lag(committed: int | None, end: int | None) -> str:
    """Records that the group has before it; not known until it commits, unless there never was a record."""
    if end == 0:
        return "0"
    return "unknown" if committed is None or end is None else str(max(end - committed, 0))


def _rows(group: Group, partitions: Sequence[int]) -> Sequence[tuple[str, int]]:
    owners = {partition: short(member.member_id) for member in group.members for partition in member.partitions}
    return [(owners.get(partition, "nobody"), partition) for partition in partitions] if group.members else []


def _idle(group: Group) -> Sequence[str]:
    return [short(member.member_id) for member in group.members if not member.partitions]


def short(member_id: str) -> str:
    """A member's id is its client id and a UUID: the first group of digits tells members apart."""
    client_id, uuid = member_id[:-37], member_id[-36:]
    return f"{client_id} {uuid[:8]}" if client_id and uuid.count("-") == 4 else member_id


def show_members(title: str, group: Group) -> None:
    """Who owns which partitions of one group at one moment."""
    table = _table(f"{group.name}, {title}", "member", "partitions")
    for member in sorted(group.members, key=lambda one: one.partitions):
        table.add_row(short(member.member_id), _joined(member.partitions) or "none (idle)")
    console.print(table)


def show_findings(written: int, findings: Sequence[Finding], groups: Mapping[str, Group]) -> None:
    """The table of a verification."""
    table = _table(f"{written} lines written", "where", "received", "missing", "doubled", "partitions by member")
    for finding in findings:
        members = groups[finding.name].members if finding.name in groups else ()
        owned = "\n".join(f"{short(one.member_id)}: {_joined(one.partitions) or 'idle'}" for one in members)
        counted = finding.tally
        table.add_row(
            "topic" if finding.name not in groups else f"group {finding.name}",
            str(counted.received),
            str(len(counted.missing)),
            str(len(counted.doubled)),
            owned,
        )
    console.print(table)


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(str(number) for number in numbers)


def record_summary(line: str) -> str | None:
    """A record that the stdout sink printed, in one short line; None for any other line."""
    try:
        event = json.loads(line)
        record = event["record"]
        request = f"{record['method'] or '?'} {record['path'] or record['request']}"
        place = f"partition {event['partition']}, offset {event['offset']}"
        line = f"{record['time']}  {record['client_address']}  {request}  {record['status']}   ({place})"
        # What a client sent must not steer the terminal.
        return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    except (ValueError, KeyError, TypeError):
        return None
