"""What is lost when things die: nothing. What is doubled, and when."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

from compose.local.broker import Broker
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import (
    ROOT,
    Replica,
    assignments,
    committed,
    headers_of,
    publish,
    publish_numbers,
    read_all,
    running,
    until,
    value,
)


def counted(*replicas: Replica) -> Counter[int]:
    return Counter(number for one in replicas for number in one.numbers)


# Slow enough that a signal meets it with a batch in hand.
SLOW_HANDLER = """
import asyncio
import json

async def handle(records):
    await asyncio.sleep(0.3)
    for record in records:
        print(json.dumps({"event": "record", "record": {"source": {"offset": record.source.offset}}}), flush=True)
"""


def test_sigkill_loses_nothing(broker: str, topics: Topics, tmp_path: Path) -> None:
    """The other replica takes the partitions over, and reads again what the dead one had not committed."""
    (tmp_path / "slow.py").write_text(SLOW_HANDLER)
    slow = {"HANDLER": "slow:handle", "MAX_POLL_RECORDS": "20", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with running(broker, topics, tmp_path) as replicas:
        victim, heir = replicas.start("killed", slow), replicas.start("killed", slow)
        until(lambda: len(victim.owns or ()) == len(heir.owns or ()) == 4, "they share")
        numbers = publish_numbers(broker, topics, 0, 800)
        until(lambda: len(victim.numbers) >= 60, "the victim is at work")
        victim.kill()
        had = len(victim.numbers)
        assert had < 400, "it was killed with work before it"
        until(lambda: len(heir.owns or ()) == 8, "the partitions have moved")
        until(lambda: set(counted(victim, heir)) == set(numbers), "every record arrived")
        assert assignments(broker, "killed") == [frozenset(range(8))]


def test_sigterm_doubles_nothing(broker: str, topics: Topics, tmp_path: Path) -> None:
    """A replica that is asked to stop finishes its batch and commits it; the others go on right behind."""
    (tmp_path / "slow.py").write_text(SLOW_HANDLER)
    # No commit but the one at the end: it has to tell the group of everything.
    slow = {
        "HANDLER": "slow:handle",
        "MAX_POLL_RECORDS": "20",
        "COMMIT_INTERVAL_MS": "60000",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    with running(broker, topics, tmp_path) as replicas:
        leaver, stayer = replicas.start("asked", slow), replicas.start("asked", slow)
        until(lambda: len(leaver.owns or ()) == len(stayer.owns or ()) == 4, "they share")
        numbers = publish_numbers(broker, topics, 0, 800)
        until(lambda: len(leaver.numbers) >= 60, "the leaver is at work")
        assert leaver.terminate() == 0
        assert 60 <= len(leaver.numbers) < 400, "it left with work before it"
        until(lambda: set(counted(leaver, stayer)) == set(numbers), "every record arrived")
        assert counted(leaver, stayer) == Counter(numbers)
        assert stayer.terminate() == 0
        assert sum(committed(broker, "asked", topics.records).values()) == 800


def test_a_stopped_process_comes_back_as_a_stranger(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Its session is over and its partitions are another's: it drops what it held, joins again, does not crash."""
    with running(broker, topics, tmp_path) as replicas:
        zombie, heir = replicas.start("zombie"), replicas.start("zombie")
        until(lambda: len(zombie.owns or ()) == len(heir.owns or ()) == 4, "they share")
        zombie.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: len(heir.owns or ()) == 8, "the heir has all")
            first = publish_numbers(broker, topics, 0, 400)
            until(lambda: len(heir.numbers) == 400, "the heir got all")
        finally:
            zombie.process.send_signal(signal.SIGCONT)
        until(lambda: len(zombie.events("partitions_assigned")) >= 2, "the zombie has joined again")
        until(lambda: len(zombie.owns or ()) == len(heir.owns or ()) == 4, "they share again")
        second = publish_numbers(broker, topics, 400, 400)
        until(lambda: set(counted(zombie, heir)) == {*first, *second}, "every record arrived")
        assert zombie.process.poll() is None


def test_poison_is_set_aside_and_the_partition_goes_on(broker: str, topics: Topics, tmp_path: Path) -> None:
    """At the first, a middle and the last place of a batch, and twice in a row."""
    poison = {0: b"\xff\xfe", 7: b"{}", 8: b'{"schema_version":2}', 11: None, 19: value(19)[:-1]}
    publish(broker, topics.records, [poison.get(number, value(number)) for number in range(20)], partition=5)
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("picky")
        until(lambda: sum(committed(broker, "picky", topics.records).values()) == 20, "all is committed")
        assert replica.numbers == [number for number in range(20) if number not in poison]
        letters = read_all(broker, topics.dead_letters, len(poison), topics.partition_count)
        publish(broker, topics.records, [value(20)], partition=5)
        until(lambda: replica.numbers[-1] == 20, "the partition goes on")
    assert len(letters) == len(poison)
    for letter in letters:
        headers = headers_of(letter)
        offset = int(headers["dlt-original-offset"])
        assert letter.value() == (poison[offset] or b"")
        assert letter.key() == b"192.0.2.1"
        assert headers["dlt-reason"] == "invalid_record"
        assert headers["dlt-original-topic"] == topics.records
        assert headers["dlt-original-partition"] == "5"
        assert headers["dlt-original-consumer-group"] == "picky"
        assert headers["dlt-exception-message"]


def test_a_broker_restart_loses_nothing(breakable_broker: Broker, broker: str, topics: Topics, tmp_path: Path) -> None:
    """SIGKILL of the broker while records flow: not ready meanwhile, one line when it goes, one when it is back."""
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("patient")
        first = publish_numbers(broker, topics, 0, 400)
        until(lambda: len(set(replica.numbers)) == 400, "the first arrived")
        before = breakable_broker.pid
        breakable_broker.kill()
        until(lambda: not replica.ready, "not ready without a broker")
        assert replica.ask("/livez") == 200
        breakable_broker.start()
        breakable_broker.wait_until_ready()
        assert breakable_broker.pid != before
        second = publish_numbers(broker, topics, 400, 400)
        until(lambda: set(replica.numbers) == {*first, *second}, "every record arrived")
        until(lambda: replica.ready, "ready again")
        assert len(replica.events("broker_unavailable")) == len(replica.events("broker_available")) == 1
        until(lambda: sum(committed(broker, "patient", topics.records).values()) == 800, "all committed")


def test_a_broker_that_is_absent_at_the_start_is_waited_for(
    breakable_broker: Broker, broker: str, topics: Topics, tmp_path: Path
) -> None:
    numbers = publish_numbers(broker, topics, 0, 100)
    breakable_broker.stop()
    with running(broker, topics, tmp_path) as replicas:
        replica, impatient = replicas.start("early"), replicas.start("impatient")
        until(lambda: bool(replica.events("broker_unavailable")), "it says so")
        until(lambda: bool(impatient.events("broker_unavailable")), "the other too")
        assert not replica.ready
        stopping_at = time.monotonic()
        assert impatient.terminate() == 0, "nothing was in flight"
        assert time.monotonic() - stopping_at < 10
        breakable_broker.start()
        until(lambda: sorted(replica.numbers) == [*numbers], "every record arrived")
        assert len(replica.events("broker_unavailable")) == 1


def test_sigterm_with_a_broker_that_does_not_answer_ends_in_time(
    breakable_broker: Broker, broker: str, topics: Topics, tmp_path: Path
) -> None:
    """The port accepts and nobody answers: the worst case for a client that wants to leave politely."""
    with running(broker, topics, tmp_path) as replicas:
        replica = replicas.start("bounded", {"SHUTDOWN_TIMEOUT_S": "10"})
        numbers = publish_numbers(broker, topics, 0, 100)
        until(lambda: sum(committed(broker, "bounded", topics.records).values()) == len(numbers), "all committed")
        breakable_broker.pause()
        until(lambda: bool(replica.events("broker_unavailable")), "it has noticed")
        stopping_at = time.monotonic()
        replica.terminate()
        assert time.monotonic() - stopping_at < 15
        os.kill(breakable_broker.pid, 0)
