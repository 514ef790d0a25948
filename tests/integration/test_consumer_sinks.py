"""Handlers on a real broker."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    committed,
    publish,
    publish_numbers,
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
    if not Path("healed").exists():
        raise ConnectionError("no database")
    with Path("seen").open("a") as seen:
        seen.writelines(f"{record.source.offset}\\n" for record in records)
"""


def test_a_handler_that_heals_has_lost_nothing(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Not ready while it fails, one line when it begins to and one when it is over, and each record once."""
    (tmp_path / "failing.py").write_text(FAILING_HANDLER)
    numbers = publish_numbers(broker, topics, 0, 300)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "failing:handle", "SINK_RETRY_MAX_MS": "100", "SINK_MAX_ATTEMPTS": "1000"}
        replica = replicas.start("heals", settings, working_directory=tmp_path)
        until(lambda: bool(replica.events("sink_unavailable")), "it fails")
        assert not replica.ready
        assert not committed(broker, "heals", topics.records)
        (tmp_path / "healed").touch()
        until(lambda: sum(committed(broker, "heals", topics.records).values()) == 300, "all committed")
        until(lambda: replica.ready, "ready again")
        assert len(replica.events("sink_unavailable")) == len(replica.events("sink_available")) == 1
        assert "no database" in replica.events("sink_unavailable")[0]["error"]
    seen = [int(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert Counter(seen) == Counter(numbers)


def test_a_handler_that_never_heals_ends_the_service_and_commits_nothing(
    broker: str, topics: Topics, tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(FAILING_HANDLER)
    publish_numbers(broker, topics, 0, 100)
    with running(broker, topics, tmp_path) as replicas:
        settings = {"HANDLER": "failing:handle", "SINK_RETRY_MAX_MS": "10", "SINK_MAX_ATTEMPTS": "3"}
        replica = replicas.start("gives-up", settings, working_directory=tmp_path)
        assert replica.process.wait(60) == 1
        [failure] = replica.events("service_failed")
        assert "after 3 attempts" in failure["error"]
        assert not committed(broker, "gives-up", topics.records)
