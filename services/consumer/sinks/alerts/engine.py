"""Which record counts in which window, when a window closes, and what its alarms are called. Pure.

A window closes when every partition has come `lateness_s` past its end: the slowest decides, so that in a backlog no
partition's records are late because another was read first. A record is late when its own partition has passed its
window by `lateness_s`. Both depend on the records alone, not on how batches are cut or how partitions take turns.

Silence is the exception: a partition without records would hold every window open. `advance` is told, by the clock,
which partitions are silent; they are left out, and when all are, the time of day takes their place.

The state holds the next offset of each partition beside the counts. Both are saved in one piece, and so each record is
counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from services.consumer.sinks.alerts.judge import Finding, judge
from services.consumer.sinks.alerts.rules import Rules
from services.consumer.sinks.alerts.window import Observation, Past, Window

# Two hours of the usual windows, for partitions that are read at different speeds.
MAX_OPEN_WINDOWS = 120
# A record from the future would make all that follow it late.
MAX_AHEAD_MS = 300_000


@dataclass(slots=True)
class State:
    """All that the engine knows: what a restart goes on with. Windows are numbered from the epoch."""

    window_s: int
    offsets: dict[int, int] = field(default_factory=dict)
    newest_ms: dict[int, int | None] = field(default_factory=dict)
    windows: dict[int, Window] = field(default_factory=dict)
    closed_to: int | None = None
    past: list[Past] = field(default_factory=list)
    ongoing: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding with its name: `id` is the same whenever the same window is judged."""

    id: str
    rule: str
    client: str
    window_start_ms: int
    window_end_ms: int
    message: str
    values: dict[str, int | float]


class Engine:
    """Counts into `state`. `scope` sets the alarms apart from those of other groups and topics."""

    def __init__(self, rules: Rules, scope: str, state: State) -> None:
        assert state.window_s == rules.window_s, "windows of another length cannot be gone on with"
        self._rules = rules
        self._scope = scope
        self._window_ms = rules.window_s * 1000
        self.state = state
        self.left_out: Counter[str] = Counter()

    def know(self, partitions: Collection[int]) -> None:
        """These exist: no window closes before they have come past it, or are silent."""
        for partition in partitions:
            self.state.newest_ms.setdefault(partition, None)

    def take(self, partition: int, observations: Iterable[Observation], next_offset: int, now_ms: int) -> list[Alarm]:
        """Count what is not counted yet; alarms of the windows that this closes."""
        counted_to = self.state.offsets.get(partition, 0)
        for seen in observations:
            if seen.offset < counted_to:
                self.left_out["repeated"] += 1
            elif seen.time_ms > now_ms + MAX_AHEAD_MS:
                self.left_out["ahead"] += 1
            else:
                self._count(partition, seen)
        self.state.offsets[partition] = max(counted_to, next_offset)
        alarms = self._close_passed(list(self.state.newest_ms.values()))
        return alarms + self._close_too_many()

    def advance(self, silent: Collection[int], now_ms: int) -> list[Alarm]:
        """Alarms of the windows that nothing is expected for any more."""
        newest = self.state.newest_ms
        waited_for = [newest_ms for partition, newest_ms in newest.items() if partition not in silent]
        if waited_for:
            return self._close_passed(waited_for)
        heard = [newest_ms for newest_ms in newest.values() if newest_ms is not None]
        return self._close_passed([max(*heard, now_ms - self._rules.idle_s * 1000)]) if heard else []

    def _count(self, partition: int, seen: Observation) -> None:
        before_ms = self.state.newest_ms.get(partition)
        newest_ms = seen.time_ms if before_ms is None else max(before_ms, seen.time_ms)
        self.state.newest_ms[partition] = newest_ms
        index = seen.time_ms // self._window_ms
        if index < max(self._passed(newest_ms), self.state.closed_to or 0):
            self.left_out["late"] += 1
        elif not self.state.windows.setdefault(index, Window()).count(seen, self._rules):
            self.left_out["untracked"] += 1

    def _passed(self, newest_ms: int) -> int:
        """The first window that a partition has not passed by `lateness_s`."""
        return (newest_ms - self._rules.lateness_s * 1000) // self._window_ms

    def _close_passed(self, newest_ms: Collection[int | None]) -> list[Alarm]:
        known = [each for each in newest_ms if each is not None]
        if len(known) < len(newest_ms) or not known:
            return []
        return self._close_to(self._passed(min(known)))

    def _close_too_many(self) -> list[Alarm]:
        surplus = len(self.state.windows) - MAX_OPEN_WINDOWS
        return self._close_to(sorted(self.state.windows)[surplus]) if surplus > 0 else []

    def _close_to(self, end: int) -> list[Alarm]:
        """Close every window below `end`, in order, the empty ones between others included."""
        begin = self.state.closed_to
        if begin is None:
            begin = min(self.state.windows, default=end)
        if begin >= end:
            return []
        alarms = [alarm for index in self._worth_judging(begin, end) for alarm in self._close(index)]
        self.state.closed_to = end
        return alarms

    def _worth_judging(self, begin: int, end: int) -> Iterator[int]:
        """A year of silence is no million of windows: once all that is remembered is empty, nothing can be found."""
        index = begin
        while index < end:
            yield index
            index += 1
            if index not in self.state.windows and self._remembers_silence:
                index = min((each for each in self.state.windows if each > index), default=end)

    @property
    def _remembers_silence(self) -> bool:
        past = self.state.past
        silent = len(past) == self._rules.windows_remembered and not any(one.requests for one in past)
        return silent and not self.state.ongoing

    def _close(self, index: int) -> list[Alarm]:
        """An alarm is raised when a rule begins to be broken, and again only after a window in which it was not."""
        window = self.state.windows.pop(index, Window())
        found = judge(window, self.state.past, self._rules)
        ongoing = set(self.state.ongoing)
        self.state.ongoing = [(finding.rule, finding.client) for finding in found]
        self.state.past = [*self.state.past, window.past()][-self._rules.windows_remembered :]
        return [self._alarm(index, finding) for finding in found if (finding.rule, finding.client) not in ongoing]

    def _alarm(self, index: int, finding: Finding) -> Alarm:
        start_ms = index * self._window_ms
        name = "\n".join((self._scope, finding.rule, finding.client, str(start_ms), str(self._window_ms)))
        return Alarm(
            id=blake2b(name.encode(errors="surrogatepass"), digest_size=16).hexdigest(),
            rule=finding.rule,
            client=finding.client,
            window_start_ms=start_ms,
            window_end_ms=start_ms + self._window_ms,
            message=finding.message,
            values=finding.values,
        )


class Silence:
    """How long each partition of this replica has been silent, in ticks: time in which the process stood still, or in
    which it could not take records, is no silence.
    """

    def __init__(self, limit_ticks: int) -> None:
        self._limit_ticks = limit_ticks
        self._ticks: dict[int, int] = {}

    def listen(self, partitions: Iterable[int]) -> None:
        """From now on, to these."""
        self._ticks.update(dict.fromkeys(partitions, 0))

    def heard(self, partition: int) -> None:
        if partition in self._ticks:
            self._ticks[partition] = 0

    def forget(self, partitions: Iterable[int]) -> None:
        """They are nobody's or another member's: whether they are silent is not known."""
        for partition in partitions:
            self._ticks.pop(partition, None)

    def interrupt(self) -> None:
        """Nothing could be heard."""
        self.listen(list(self._ticks))

    def tick(self) -> frozenset[int]:
        """One more; the partitions that have been silent for the limit."""
        self._ticks = {partition: ticks + 1 for partition, ticks in self._ticks.items()}
        return frozenset(partition for partition, ticks in self._ticks.items() if ticks >= self._limit_ticks)
