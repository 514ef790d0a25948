"""Windows of event time: what closes them, what is late, and that neither batches nor restarts change an alarm."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.consumer.sinks.alerts.engine import (
    MAX_AHEAD_MS,
    MAX_OPEN_WINDOWS,
    Alarm,
    Engine,
    Silence,
    State,
)
from services.consumer.sinks.alerts.rules import Rules, ServerErrors, parse_rules
from services.consumer.sinks.alerts.state_file import SAVED, VERSION, Saved
from services.consumer.sinks.alerts.window import Observation

NEVER_MS = 10**15
RULES = parse_rules(
    """
window_s = 10
lateness_s = 5
[server_errors]
share = 0.3
min_requests = 2
[scan]
paths = 2
[traffic_drop]
share = 0.5
windows = 2
min_requests = 3
[new_top_client]
share = 0.5
min_requests = 3
windows = 2
""",
    "rules.toml",
)

Told = tuple[str, str, int]
Log = dict[int, list[Observation]]


def seen(offset: int, time_s: float, status: int = 200, client: str = "a", path: int = 0) -> Observation:
    return Observation(offset, int(time_s * 1000), status, client, path if status == 404 else None)


def engine(*partitions: int, rules: Rules = RULES) -> Engine:
    made = Engine(rules, "group/topic", State(rules.window_s))
    made.know(partitions or [0])
    return made


def told(alarms: Sequence[Alarm]) -> list[Told]:
    return [(alarm.rule, alarm.client, alarm.window_start_ms // 1000) for alarm in alarms]


def take(it: Engine, *times_s: float, status: int = 503, partition: int = 0) -> list[Told]:
    first = it.state.offsets.get(partition, 0)
    observations = [seen(first + number, time_s, status) for number, time_s in enumerate(times_s)]
    return told(it.take(partition, observations, first + len(times_s), NEVER_MS))


def test_a_window_closes_when_its_lateness_is_over() -> None:
    it = engine()
    assert take(it, 101, 102, 114.9) == []
    assert take(it, 115) == [("server_errors", "", 100)]


def test_a_record_out_of_order_counts_until_then_and_is_counted_as_late_afterwards() -> None:
    it = engine()
    assert take(it, 101, 112, 109, 115) == [("server_errors", "", 100)]
    assert not it.left_out
    take(it, 109)
    assert it.left_out == {"late": 1}


def test_the_slowest_partition_decides() -> None:
    """In a backlog one is read long before the other; nothing of either is late."""
    it = engine(0, 1)
    assert take(it, 101, 155, partition=0) == []
    assert take(it, 102, 116, partition=1) == [("server_errors", "", 100)]
    assert not it.left_out


def test_a_silent_partition_holds_nothing_up_once_the_clock_says_so() -> None:
    it = engine(0, 1)
    assert take(it, 101, 102, 130, partition=0) == []
    assert it.advance([], NEVER_MS) == []
    assert told(it.advance([1], NEVER_MS)) == [("server_errors", "", 100)]


def test_when_all_are_silent_the_time_of_day_closes_windows_and_the_drop_is_seen() -> None:
    it = engine(rules=RULES.model_copy(update={"server_errors": ServerErrors(enabled=False)}))
    for start in (100, 110, 120):
        take(it, *[start + number for number in range(4)], status=200)
    assert told(it.advance([0], 140_000 + RULES.idle_s * 1000)) == []
    assert told(it.advance([0], 145_000 + RULES.idle_s * 1000)) == [("traffic_drop", "", 130)]
    assert told(it.advance([0], 10**12)) == [], "it goes on, and is told once"


def test_a_year_of_silence_is_closed_at_once() -> None:
    it = engine()
    take(it, 101, 102)
    assert told(it.advance([0], 365 * 86_400_000)) == [("server_errors", "", 100)]
    assert it.state.closed_to is not None
    assert it.state.closed_to > 3_000_000
    take(it, 365 * 86_400 + 20.0)
    assert not it.left_out


def test_before_the_first_record_there_is_nothing_to_close() -> None:
    it = engine(0, 1)
    assert it.advance([0, 1], 10**12) == []
    assert it.state.closed_to is None


def test_what_goes_on_is_told_when_it_begins() -> None:
    """And again after a window in which it was over."""
    it = engine()
    alarms = take(it, 101, 102, 111, 112, 121, 122)
    alarms += take(it, 131, 132, status=200)
    alarms += take(it, 141, 142, 160)
    assert alarms == [("server_errors", "", 100), ("server_errors", "", 140)]


def test_a_record_from_the_future_makes_nothing_late() -> None:
    it = engine()
    now_ms = 102_000
    it.take(0, [seen(0, 101, 503), seen(1, 102 + MAX_AHEAD_MS / 1000 + 1), seen(2, 102, 503)], 3, now_ms)
    assert it.left_out == {"ahead": 1}
    assert it.state.windows[10].requests == 2


def test_an_offset_that_comes_again_is_not_counted_again() -> None:
    it = engine()
    observations = [seen(number, 101) for number in range(4)]
    it.take(0, observations, 4, NEVER_MS)
    it.take(0, [*observations[2:], seen(4, 101)], 5, NEVER_MS)
    assert it.state.windows[10].requests == 5
    assert it.left_out == {"repeated": 2}


def test_open_windows_are_limited() -> None:
    """A partition that is a day behind another: the oldest windows close without it."""
    it = engine(0, 1)
    take(it, *[10.0 * number for number in range(1000)], partition=0)
    assert len(it.state.windows) == MAX_OPEN_WINDOWS
    take(it, 5, partition=1)
    assert it.left_out == {"late": 1}


def test_alarms_of_other_groups_have_other_names() -> None:
    names: set[str] = set()
    for scope in ("one/topic", "other/topic"):
        it = Engine(RULES, scope, State(RULES.window_s))
        it.know([0])
        names.update(alarm.id for alarm in it.take(0, [seen(0, 1, 503), seen(1, 2, 503), seen(2, 99)], 3, NEVER_MS))
    assert len(names) == 2


observations = st.tuples(
    st.integers(0, 120),
    st.sampled_from([200, 200, 404, 503]),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 4),
)
logs = st.lists(st.lists(observations, max_size=40), min_size=1, max_size=3)


def log_of(drawn: list[list[tuple[int, int, str, int]]]) -> Log:
    """Offsets with gaps, as markers leave them; at the end of each partition a record far behind closes all."""
    last = (10_000, 200, "end", 0)
    return {
        partition: [
            seen(offset * 3, time_s, status, client, path)
            for offset, (time_s, status, client, path) in enumerate([*records, last])
        ]
        for partition, records in enumerate(drawn)
    }


def played(log: Log, dice: random.Random, *, largest_batch: int, restart_share: float) -> tuple[list[Alarm], int]:
    """All of the log in batches of chance, partitions in turns of chance; the state goes through its file at times."""
    it = engine(*log)
    left = {partition: list(records) for partition, records in log.items()}
    alarms: list[Alarm] = []
    late = 0
    while left:
        partition = dice.choice(sorted(left))
        size = dice.randint(1, largest_batch)
        part, left[partition] = left[partition][:size], left[partition][size:]
        if not left[partition]:
            del left[partition]
        alarms += it.take(partition, part, part[-1].offset + 1, NEVER_MS)
        if dice.random() < restart_share:
            saved = SAVED.validate_json(SAVED.dump_json(Saved(VERSION, "", it.state)))
            late += it.left_out["late"]
            it = Engine(RULES, "group/topic", saved.counting)
    return alarms, late + it.left_out["late"]


@given(logs, st.integers(0, 2**32))
def test_alarms_do_not_depend_on_batches_nor_on_turns_nor_on_restarts(
    drawn: list[list[tuple[int, int, str, int]]], seed: int
) -> None:
    """Nor does what is late."""
    log = log_of(drawn)
    expected = played(log, random.Random(0), largest_batch=1, restart_share=0)
    assert played(log, random.Random(seed), largest_batch=50, restart_share=0) == expected
    assert played(log, random.Random(seed), largest_batch=5, restart_share=0.5) == expected


@given(logs, st.integers(0, 2**32), st.integers(0, 200))
def test_a_crash_repeats_what_was_not_saved_and_loses_nothing(
    drawn: list[list[tuple[int, int, str, int]]], seed: int, crash_after: int
) -> None:
    """Alarms of the state that was saved, and those that its successor raises, are those of an undisturbed run."""
    log = log_of(drawn)
    expected, _late = played(log, random.Random(0), largest_batch=1, restart_share=0)
    dice = random.Random(seed)
    it = engine(*log)
    durable: list[Alarm] = []
    unsaved: list[Alarm] = []
    saved = SAVED.dump_json(Saved(VERSION, "", it.state))
    for step in range(crash_after + 1):
        partition = dice.choice(sorted(log))
        begin = it.state.offsets.get(partition, 0)
        part = [one for one in log[partition] if one.offset >= begin][: dice.randint(1, 5)]
        if part:
            unsaved += it.take(partition, part, part[-1].offset + 1, NEVER_MS)
        if step % 3 == 0:
            saved = SAVED.dump_json(Saved(VERSION, "", it.state))
            durable, unsaved = durable + unsaved, []
    heir = Engine(RULES, "group/topic", SAVED.validate_json(saved).counting)
    for partition, records in log.items():
        begin = heir.state.offsets.get(partition, 0)
        left = [one for one in records if one.offset >= begin]
        if left:
            durable += heir.take(partition, left, left[-1].offset + 1, NEVER_MS)
    assert durable == expected


def test_silence_is_counted_in_ticks_of_partitions_that_are_listened_to() -> None:
    silence = Silence(2)
    silence.listen([0, 1, 2])
    assert silence.tick() == frozenset()
    silence.heard(0)
    silence.forget([2])
    silence.heard(2)
    assert silence.tick() == {1}
    assert silence.tick() == {0, 1}
    silence.interrupt()
    assert silence.tick() == frozenset()
