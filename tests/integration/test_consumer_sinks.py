"""Handlers on a real broker."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    committed,
    headers_of,
    publish,
    publish_numbers,
    read_all,
    running,
    until,
    value,
)


def test_a_handler_of_ones_own_gets_the_records_in_order(broker: str, topics: Topics, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "async def handle(records):\n"
        "    with Path('seen').open('a') as seen:\n"
        "        seen.writelines(f'{record.source.offset} {record.user_agent}\\n' for record in records)\n"
    )
    publish(broker, topics.records, [value(number) for number in range(1200)], partition=2)
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("mine", {"HANDLER": "mine:handle"}, working_directory=tmp_path)
        until(lambda: committed(broker, "mine", topics.records) == {2: 1200}, "all committed")
        assert replica.terminate() == 0
    assert (tmp_path / "seen").read_text().splitlines() == [f"{number} ü" for number in range(1200)]


def test_the_example_runs(broker: str, topics: Topics, tmp_path: Path) -> None:
    publish(broker, topics.records, [value(1, status=200), value(2, status=503)])
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("example-handler", {"HANDLER": "services.consumer.examples.errors_only:handle"})
        until(lambda: b" 503 GET /2\n" in replica.output.read_bytes(), "the error is printed")
        assert b"GET /1\n" not in replica.output.read_bytes()


FAILING_HANDLER = """
from pathlib import Path

async def handle(records):
    with Path("attempts").open("a") as attempts:
        attempts.write("x")
    if not Path("healed").exists():
        raise ConnectionError("no database")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


def test_a_handler_that_heals_has_lost_nothing(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Whatever SINK_MAX_ATTEMPTS says. Not ready while it fails, one line when it begins to and one when it is over,
    each record once, and nothing is set aside.
    """
    (tmp_path / "failing.py").write_text(FAILING_HANDLER)
    numbers = publish_numbers(broker, topics, 0, 300)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "failing:handle", "SINK_RETRY_MAX_MS": "20", "SINK_MAX_ATTEMPTS": "2"}
        replica = replicas.start("heals", settings, working_directory=tmp_path)
        attempts = tmp_path / "attempts"
        until(lambda: attempts.exists() and attempts.stat().st_size >= 20, "it fails many times")
        assert not replica.ready
        assert not committed(broker, "heals", topics.records)
        (tmp_path / "healed").touch()
        until(lambda: sum(committed(broker, "heals", topics.records).values()) == 300, "all committed")
        until(lambda: replica.ready, "ready again")
        assert len(replica.events("sink_unavailable")) == len(replica.events("sink_available")) == 1
        assert "no database" in replica.events("sink_unavailable")[0]["error"]
        assert not replica.events("records_dead_lettered")
        assert replica.terminate() == 0
    seen = [int(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert Counter(seen) == Counter(numbers)


POISONED_HANDLER = """
from pathlib import Path
from collections.abc import Sequence
from services.consumer.handlers import Reject
from shared.schemas import AccessRecord

def note(record):
    with Path("seen").open("a") as seen:
        seen.write(f"{record.source.offset}\\n")

def check(record):
    if record.source.offset == 42:
        raise RuntimeError("strange")
    if record.source.offset == 43:
        raise Reject("no account")
    if record.source.offset == 52:
        {}["missing"]

async def handle_one(record: AccessRecord):
    check(record)
    note(record)

async def handle_batch(records: Sequence[AccessRecord]):
    for record in records:
        check(record)
    for record in records:
        note(record)
"""


@pytest.mark.parametrize("function", ["handle_one", "handle_batch"])
def test_poison_records_are_set_aside_and_the_others_are_done_once(
    broker: str, topics: Topics, tmp_path: Path, function: str
) -> None:
    """One that fails SINK_MAX_ATTEMPTS times, one that is rejected, one that shows a bug; each found by its offset."""
    (tmp_path / "poisoned.py").write_text(POISONED_HANDLER)
    values = [value(number) for number in range(100)]
    publish(broker, topics.records, values)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": f"poisoned:{function}", "SINK_RETRY_MAX_MS": "200", "SINK_MAX_ATTEMPTS": "4"}
        replica = replicas.start("poisoned", settings, working_directory=tmp_path)
        until(lambda: sum(committed(broker, "poisoned", topics.records).values()) == 100, "all committed")
        assert replica.terminate() == 0
    letters = {
        int(headers["dlt-original-partition"]) + 8 * int(headers["dlt-original-offset"]): (letter, headers)
        for letter in read_all(broker, topics.dead_letters, 3, topics.partition_count)
        for headers in [headers_of(letter)]
    }
    found = {
        number: (headers["dlt-reason"], headers["dlt-exception-fqcn"], headers["dlt-attempts"])
        for number, (_letter, headers) in letters.items()
    }
    assert found[42] == ("sink_failed", "RuntimeError", "4")
    assert {number: cause for number, (_reason, cause, _attempts) in found.items()} == {
        42: "RuntimeError",
        43: "Reject",
        52: "KeyError",
    }
    assert found[43][0] == found[52][0] == "sink_rejected"
    assert all(letter.value() == values[number] for number, (letter, _headers) in letters.items())
    seen = [int(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert Counter(seen) == Counter(set(range(100)) - letters.keys())
    for partition in range(topics.partition_count):
        share = [number for number in seen if number % 8 == partition]
        assert share == sorted(share), "in order"


AWAY_THEN_POISONED_HANDLER = """
from pathlib import Path

async def handle(records):
    if not Path("healed").exists():
        raise ConnectionError("no database")
    for record in records:
        if record.source.offset == 3:
            raise RuntimeError("strange")
        if record.source.offset == 5:
            raise KeyError("missing")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_poison_record_does_not_keep_a_sink_down_that_is_back(broker: str, topics: Topics, tmp_path: Path) -> None:
    """It is in the first batch after an outage, and no other partition shows that the sink works."""
    (tmp_path / "back.py").write_text(AWAY_THEN_POISONED_HANDLER)
    publish_numbers(broker, topics, 0, 20)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "back:handle", "SINK_RETRY_MAX_MS": "50", "SINK_MAX_ATTEMPTS": "2"}
        replica = replicas.start("back", settings, working_directory=tmp_path)
        until(lambda: bool(replica.events("sink_unavailable")), "it is away")
        (tmp_path / "healed").touch()
        until(lambda: committed(broker, "back", topics.records) == {0: 20}, "all committed")
        until(lambda: replica.ready, "ready again")
        assert replica.terminate() == 0
    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == sorted(set(range(20)) - {3, 5})
    letters = read_all(broker, topics.dead_letters, 2, 1)
    assert sorted(headers_of(letter)["dlt-original-offset"] for letter in letters) == ["3", "5"]


STUCK_HANDLER = """
from pathlib import Path

async def handle(records):
    if any(record.source.offset % 8 == 2 for record in records) and not Path("healed").exists():
        raise RuntimeError("this partition alone")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


def test_other_partitions_go_on_while_one_fails(broker: str, topics: Topics, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK_HANDLER)
    publish_numbers(broker, topics, 0, 80)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "stuck:handle", "SINK_RETRY_MAX_MS": "100", "SINK_MAX_ATTEMPTS": "100000"}
        replica = replicas.start("goes-on", settings, working_directory=tmp_path)
        others = {partition: 10 for partition in range(8) if partition != 2}
        until(lambda: committed(broker, "goes-on", topics.records) == others, "the others are committed")
        publish_numbers(broker, topics, 80, 80)
        more = dict.fromkeys(others, 20)
        until(lambda: committed(broker, "goes-on", topics.records) == more, "and go on")
        assert replica.events("sink_failed")[-1]["partition"] == 2
        assert replica.ready, "a partition that waits alone is no outage"
        (tmp_path / "healed").touch()
        until(lambda: committed(broker, "goes-on", topics.records) == {**more, 2: 20}, "all committed")
        assert replica.terminate() == 0
    seen = [int(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert Counter(seen) == Counter(range(160))


BROKEN_HANDLER = """
from pathlib import Path

async def handle(records):
    if not Path("healed").exists():
        raise KeyError("a bug in every record")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_handler_that_takes_nothing_is_down_before_all_is_set_aside(
    broker: str, topics: Topics, tmp_path: Path
) -> None:
    """SINK_BREAKER_AFTER records and no more; once it is mended, all that is left is done."""
    (tmp_path / "broken.py").write_text(BROKEN_HANDLER)
    publish_numbers(broker, topics, 0, 200)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "broken:handle", "SINK_RETRY_MAX_MS": "100", "SINK_BREAKER_AFTER": "5"}
        replica = replicas.start("broken", settings, working_directory=tmp_path)
        until(lambda: bool(replica.events("sink_unavailable")), "it counts as down")
        assert "KeyError: 'a bug in every record'" in replica.events("sink_unavailable")[0]["error"]
        until(lambda: committed(broker, "broken", topics.records) == {0: 5}, "what is set aside is committed")
        assert replica.process.poll() is None
        assert not replica.ready
        (tmp_path / "broken.py").write_text(BROKEN_HANDLER.replace("not Path", "False and not Path"))
        assert replica.terminate() == 0
        mended = replicas.start("broken", settings, working_directory=tmp_path)
        until(lambda: committed(broker, "broken", topics.records) == {0: 200}, "all committed")
        assert mended.terminate() == 0
    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == [*range(5, 200)]
    letters = read_all(broker, topics.dead_letters, 5, 1)
    assert [headers_of(letter)["dlt-original-offset"] for letter in letters] == ["0", "1", "2", "3", "4"]
