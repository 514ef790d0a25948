"""`make verify`, `fanout` and `balance`: marked lines go in at one end, and what comes out of each group is counted.

Every wait ends: it fails when nothing moved for STALL_S, however long the whole takes.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from compose.control import counting, report
from compose.control.counting import Finding, Snapshot
from compose.control.kafka_view import KafkaView
from compose.control.stack import Output, Stack, Tell
from compose.control.topology import Service
from compose.errors import OperatorError
from shared.errors import RetryableError
from shared.kafka.groups import Group

STALL_S = 45.0
POLL_INTERVAL_S = 0.3
TELL_INTERVAL_S = 3.0
# What no measure is below.
NEVER = -sys.maxsize
FANOUT_SERVICES = ("fanout-group-1", "fanout-group-2")
BALANCED_SERVICE = "consumer"
# What comes out of other sinks goes where only its owner can look.
COUNTED_SINKS = frozenset({"stdout", "archive"})
BALANCED_REPLICAS = 4


def wait_for(measure: Callable[[], int], goal: int, what: str, tell: Tell) -> int:
    """Measure until the goal is reached or nothing has changed for STALL_S; returns what was measured last.

    That is `NEVER` when there was no answer at all, which is below every measure.
    """
    best, moved_at, told_at = NEVER, time.monotonic(), time.monotonic()
    while True:
        try:
            measured = measure()
        except RetryableError:  # a broker that rebalances or restarts has no answer for a moment
            measured = best
        now = time.monotonic()
        if measured != best:
            best, moved_at = measured, now
        if best >= goal or now - moved_at > STALL_S:
            return best
        if now - told_at > TELL_INTERVAL_S:
            told_at = now
            tell(f"  waiting: {what}" + (f", {max(best, 0)} of {goal}" if goal > 1 else ""))
        time.sleep(POLL_INTERVAL_S)


def consumer_services(stack: Stack) -> Mapping[str, Service]:
    """The services that consume and run now, by their group."""
    running = {replica.service for replica in stack.replicas() if replica.running}
    return {each.group_id: each for each in stack.services().values() if each.group_id and each.name in running}


@dataclass
class Run:
    """One verification: what was there at its start, what was written since, where the outputs are read from."""

    stack: Stack
    view: KafkaView
    tell: Tell
    services: Mapping[str, Service]
    outputs: Mapping[str, Output]
    start_offsets: Mapping[int, int]
    before: Snapshot
    # A second before the first line, whose time has no fractions.
    since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(seconds=1))
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))
    written: int = 0

    @classmethod
    def begin(cls, stack: Stack, tell: Tell) -> Run:
        """Open everything before the first line is written."""
        services = consumer_services(stack)
        if not any(service.sink in COUNTED_SINKS for service in services.values()):
            raise OperatorError("No consumer runs whose records can be counted.", "Start the stack: make up")
        topic = stack.services()["producer"].environment["KAFKA_TOPIC"]
        view = KafkaView(stack.bootstrap_servers, topic, stack.login())
        outputs = {
            group: stack.open_output(each.name) for group, each in services.items() if each.sink in COUNTED_SINKS
        }
        settle(view, tuple(services), tell)
        before = Snapshot({group.name: group for group in view.describe(tuple(services))}, stack.replicas())
        return cls(stack, view, tell, services, outputs, view.end_offsets(), before)

    def write(self, count: int) -> None:
        """Append that many marked lines to the followed file."""
        log_format = self.stack.services()["producer"].environment.get("LOG_FORMAT", "auto")
        now = datetime.now(UTC)
        self.stack.append_lines(counting.marked_lines(self.run_id, self.written, count, now, log_format))
        self.written += count
        self.tell(f"Wrote {count} marked lines.")

    def finish(self) -> tuple[Snapshot, tuple[Finding, ...]]:
        """Wait for the topic, then for each group, and count."""
        wait_for(lambda: len(set(self._numbers_in_topic())), self.written, "in the topic", self.tell)
        end_offsets = self.view.end_offsets()
        wait_for(lambda: self._groups_done(end_offsets), len(self.services), "groups that committed it all", self.tell)
        self._tell_uncounted(end_offsets)
        numbers = {group: self._collect(group) for group in self.counted}
        after = Snapshot({one.name: one for one in self.view.describe(tuple(self.services))}, self.stack.replicas())
        source = tuple(
            f"{name} was started again"
            for name in counting.restarted(self.before, after, "producer", *self.stack.flavour.brokers)
        )
        findings = [Finding("topic", counting.tally(self._numbers_in_topic(), self.written), source)]
        for group, service in self.counted.items():
            reasons = source + counting.explanations(self.before, after, group, service.name)
            contested = counting.contested_partitions(after.groups[group])
            findings.append(Finding(group, counting.tally(numbers[group], self.written), reasons, contested))
        return after, tuple(findings)

    @property
    def counted(self) -> Mapping[str, Service]:
        """The services whose records can be seen from here, by their group."""
        return {group: one for group, one in self.services.items() if one.sink in COUNTED_SINKS}

    def _tell_uncounted(self, end_offsets: Mapping[int, int]) -> None:
        for group, service in self.services.items():
            if group not in self.counted:
                done = "has committed all of it" if self._is_done(group, end_offsets) else "has not committed all of it"
                self.tell(f"Group {group} {done}; what its sink ({service.sink}) has is not counted here.")

    def _numbers_in_topic(self) -> Sequence[int]:
        needle = counting.marker(self.run_id).encode()
        records = self.view.holding(needle, self.start_offsets, self.view.end_offsets())
        return list(counting.numbers_in((record.value for record in records if record.value), self.run_id))

    def _groups_done(self, end_offsets: Mapping[int, int]) -> int:
        """How many groups have committed everything below those offsets."""
        return sum(self._has_committed(group, end_offsets) for group in self.view.describe(tuple(self.services)))

    def _is_done(self, group: str, end_offsets: Mapping[int, int]) -> bool:
        return all(self._has_committed(one, end_offsets) for one in self.view.describe((group,)))

    def _has_committed(self, group: Group, end_offsets: Mapping[int, int]) -> bool:
        started = {partition for partition, end in end_offsets.items() if end > self.start_offsets.get(partition, 0)}
        return all(group.committed.get(partition, -1) >= end_offsets[partition] for partition in started)

    def _collect(self, group: str) -> Sequence[int]:
        """What the group's sink got; printed lines may be a moment behind their commit."""
        numbers: list[int] = []

        def count() -> int:
            numbers[:] = counting.numbers_in(self._sink_lines(group), self.run_id)
            return len(set(numbers))

        wait_for(count, self.written, f"out of {group}", self.tell)
        return numbers

    def _sink_lines(self, group: str) -> Sequence[str]:
        service, needle = self.services[group], counting.marker(self.run_id)
        if service.sink == "archive":
            return self.stack.archived(service.name, self.view.topic, needle, self.since)
        return self.outputs[group].matching(needle)


def wait_for_copies(stack: Stack, tell: Tell) -> None:
    """Return when every partition has all its copies in sync. Raises OperatorError when they do not come."""
    view = KafkaView(stack.bootstrap_servers, stack.services()["producer"].environment["KAFKA_TOPIC"], stack.login())
    # Downwards to nothing: each copy that comes is a move, so that many of them may take long.
    missing = -wait_for(lambda: -view.lagging_copies(), 0, "copies in sync", tell)
    if missing == -NEVER:
        raise OperatorError(
            "No broker tells which copies are in sync.", "Look with: make status, make logs SERVICE=kafka"
        )
    if missing > 0:
        raise OperatorError(
            f"{missing} copies of partitions are not in sync, and no more of them come.",
            "Look with: make logs SERVICE=kafka",
        )


def settle(view: KafkaView, names: Sequence[str], tell: Tell) -> tuple[Group, ...]:
    """Wait until every group has members and all partitions are owned."""
    described: tuple[Group, ...] = ()

    def settled() -> int:
        nonlocal described
        described = view.describe(names)
        partitions = set(view.end_offsets())
        return sum(is_settled(group, partitions) for group in described)

    if wait_for(settled, len(names), "groups that share out all partitions", tell) < len(names):
        waiting = ", ".join(f"{group.name} ({group.state})" for group in described)
        raise OperatorError(f"The groups do not settle: {waiting}.", "Look with: make status, and: make logs")
    return described


def is_settled(group: Group, partitions: set[int]) -> bool:
    """Whether the group's members own all partitions between them."""
    owned = {partition for member in group.members for partition in member.partitions}
    return group.state == "Stable" and owned == partitions


def conclude(run: Run) -> int:
    """Finish a run, show the table; the exit code of the verb."""
    after, findings = run.finish()
    report.show_findings(run.written, findings, after.groups)
    problems = [problem for finding in findings for problem in finding.problems]
    for problem in problems:
        report.bad(problem)
    for finding in findings:
        if finding.tally.doubled and finding.explanations:
            report.say(f"{finding.name}: doubles are explained: {'; '.join(finding.explanations)}.")
    if problems:
        report.say("Next: make logs SERVICE=producer, make status.")
        return 1
    uncounted = sorted(run.services.keys() - run.counted.keys())
    groups = f"every group but {', '.join(uncounted)}, whose records are not seen here," if uncounted else "every group"
    report.good(f"Every line is in the topic, and {groups} got every record.")
    return 0


def verify(stack: Stack, lines: int, tell: Tell) -> int:
    """Marked lines through the stack as it runs."""
    run = Run.begin(stack, tell)
    run.write(lines)
    return conclude(run)


@contextmanager
def _scaled(stack: Stack, wanted: Mapping[str, int], tell: Tell) -> Iterator[None]:
    """So many replicas for the duration; then as many as there were."""
    replicas = stack.replicas()
    before = {name: sum(one.service == name and one.running for one in replicas) for name in wanted}
    stack.scale(wanted, tell)
    try:
        yield
    finally:
        tell("Putting things back: " + ", ".join(f"{name}={count}" for name, count in before.items()) + ".")
        stack.scale(before, tell)


def fanout(stack: Stack, lines: int, tell: Tell) -> int:
    """The same with two more groups of equal standing, started for it and stopped after."""
    with _scaled(stack, dict.fromkeys(FANOUT_SERVICES, 1), tell):
        return verify(stack, lines, tell)


def balance(stack: Stack, lines: int, tell: Tell) -> int:
    """One group of four; one member is killed under load and comes back."""
    with _scaled(stack, {BALANCED_SERVICE: BALANCED_REPLICAS}, tell):
        run = Run.begin(stack, tell)
        group = stack.services()[BALANCED_SERVICE].group_id or BALANCED_SERVICE
        report.show_members("before", run.before.groups[group])
        run.write(lines // 3)
        victim = next(one.name for one in stack.replicas() if one.service == BALANCED_SERVICE and one.running)
        tell(f"Killing {victim}. The group notices when its session is over, some seconds from now.")
        stack.kill_one(victim)
        run.write(lines // 3)
        report.show_members("during", _group_of(run, group, BALANCED_REPLICAS - 1))
        stack.start_one(victim)
        tell(f"{victim} comes back.")
        run.write(lines - 2 * (lines // 3))
        report.show_members("after", _group_of(run, group, BALANCED_REPLICAS))
        return conclude(run)


@dataclass
class _Found:
    group: Group | None = None


def _group_of(run: Run, name: str, members: int) -> Group:
    """The group once it has that many members and has shared out all partitions between them."""
    found = _Found()

    def settled() -> int:
        [found.group] = run.view.describe([name])
        return int(len(found.group.members) == members and is_settled(found.group, set(run.view.end_offsets())))

    if wait_for(settled, 1, f"{name} with {members} members", run.tell) < 1 or found.group is None:
        raise OperatorError(f"Group {name} did not come to {members} members.", "Look with: make status")
    return found.group
