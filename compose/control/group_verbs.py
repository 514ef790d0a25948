"""The verbs that look after one consumer group or all of them: `make groups`, `make reset-group`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from compose.control import groups_view, report, reset_plan
from compose.control.groups_view import members_of
from compose.control.kafka_view import KafkaView
from compose.control.stack import Stack
from compose.control.topology import Service
from compose.errors import OperatorError
from shared.errors import OwnershipLost
from shared.kafka.groups import Group

METRICS_PATH = "/metrics"


def _view(stack: Stack) -> KafkaView:
    topic = stack.services()["producer"].environment["KAFKA_TOPIC"]
    return KafkaView(stack.bootstrap_servers, topic, stack.login())


def groups(stack: Stack, only: str | None, interval_s: float, *, as_json: bool) -> int:
    """Show who reads the topic, how far behind and how fast; 1 when there is no such group or no topic."""
    view = _view(stack)
    seen = view.groups(only, interval_s)
    if not seen.held:
        raise OperatorError(f"There is no topic {view.topic}.", "make up makes it")
    found = groups_view.views(seen, _rebalances(stack, [group.name for group in seen.groups]))
    if as_json:
        sys.stdout.write(json.dumps(groups_view.document(view.topic, seen, found)) + "\n")
    else:
        report.show_group_views(found, seen)
    return 0 if any(group.state or group.lag is not None for group in found) else 1


def _rebalances(stack: Stack, names: Sequence[str]) -> dict[str, int]:
    """What the replicas of this stack counted, by group: each counts every reassignment, so the largest counts most."""
    counted: dict[str, int] = {}
    services = {name: service.group_id for name, service in stack.services().items() if service.group_id in names}
    for replica in stack.replicas() if services else ():
        group = services.get(replica.service)
        if group is None or not replica.running:
            continue
        try:
            count = groups_view.rebalances_in(stack.ask(replica, METRICS_PATH))
        except OperatorError:
            continue  # it starts or hangs: then the others tell, or nobody does
        if count is not None:
            counted[group] = max(count, counted.get(group, 0))
    return counted


@dataclass(frozen=True)
class Reset:
    """What was typed behind `make reset-group`."""

    group: str | None
    to: str | None
    partitions: str | None


def reset_group(stack: Stack, wanted: Reset, ask: Callable[[str], bool]) -> int:
    """Let a group go on from somewhere else, after a yes; 1 when the answer was no."""
    if not wanted.group:
        raise OperatorError("GROUP is not set: which group is to go on from where?", reset_plan.EXAMPLE)
    target = reset_plan.parse_target(wanted.to, datetime.now(UTC))
    view, service = _view(stack), _service_of(stack, wanted.group)
    held = view.spans()
    if not held:
        raise OperatorError(f"There is no topic {view.topic}.", "make up makes it")
    partitions = reset_plan.parse_partitions(wanted.partitions, tuple(held))
    [group] = view.describe([wanted.group])
    _refuse_members(group, service)
    at_time = view.since(held, target) if isinstance(target, datetime) else {}
    moves = reset_plan.plan(group, partitions, held, target, at_time)
    report.show_moves(group, moves)
    if warning := reset_plan.warning(service.sink if service else None):
        report.bad(warning)
    if not any(move.to != move.committed for move in moves):
        report.good(f"Group {group.name} is there already. Nothing to do.")
        return 0
    if not ask(f"That becomes what group {group.name} has committed."):
        report.say("Nothing was changed.")
        return 1
    try:
        view.commit(group.name, {move.partition: move.to for move in moves})
    except OwnershipLost as error:
        [group] = view.describe([wanted.group])
        _refuse_members(group, service)
        raise OperatorError(f"A member joined meanwhile, and nothing was changed: {error}", "Try again") from error
    return _show_result(view, group, moves, service)


def _show_result(view: KafkaView, group: Group, moves: Sequence[reset_plan.Move], service: Service | None) -> int:
    """What the broker says now; 1 when it is not what was asked for."""
    [now] = view.describe([group.name])
    report.show_committed(now)
    if any(now.committed.get(move.partition) != move.to for move in moves):
        report.bad("That is not what was committed: somebody else commits for this group. Look with: make groups")
        return 1
    start = f" Start it again: make scale {service.name}={service.replicas or 1}" if service else ""
    if service and reset_plan.overrules(service.sink):
        report.good(
            f"That is committed; where SINK={service.sink} has offsets of its own, it goes on from those.{start}"
        )
    else:
        report.good(f"Group {group.name} goes on from there.{start}")
    return 0


def _service_of(stack: Stack, group: str) -> Service | None:
    return next((one for one in stack.services().values() if one.group_id == group), None)


def _refuse_members(group: Group, service: Service | None) -> None:
    """Raises OperatorError while the group has members: they would commit over it."""
    if not group.members:
        return
    who = ", ".join(sorted({f"{one.client_id} at {one.host}" for one in group.members}))
    stop = f"Stop it first: make scale {service.name}=0" if service else "Stop these clients first, then try again."
    raise OperatorError(f"Group {group.name} has {members_of(group)}: {who}. Nothing was changed.", stop)
