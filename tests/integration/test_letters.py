"""make dead-letters, make replay-to-group: the dead letters of real consumers, listed and sent to their group again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.integration.conftest import DEADLINE_S, Topics
from tests.integration.consumer_driver import ROOT, committed, publish, publish_numbers, running, until
from tests.integration.producer_driver import Found, read_topic

STEERING = b"\x1b[2J{steering\n"


def junk(count: int) -> list[bytes]:
    """Values that are no records, each of them different."""
    return [b'{"junk":%d}' % number for number in range(count)]


def command(work: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.consumer.letters", work, *arguments]


def environment(broker: str, topics: Topics) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "SERVICE_NAME": "toolbox",
        "KAFKA_BOOTSTRAP_SERVERS": broker,
        "KAFKA_TOPIC": topics.records,
        "KAFKA_DEAD_LETTER_TOPIC": topics.dead_letters,
    }


def tool(broker: str, topics: Topics, work: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(work, *arguments),
        env=environment(broker, topics),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def listed(broker: str, topics: Topics, *arguments: str) -> dict[str, Any]:
    done = tool(broker, topics, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def set_aside(broker: str, topics: Topics, directory: Path, groups: list[str], total: int) -> None:
    """Let each group read the `total` records of the topic, and set aside what is none."""
    with running(broker, topics, directory) as replicas:
        started = [replicas.start(group, {"KAFKA_GROUP_ID": group, "SERVICE_NAME": "reading"}) for group in groups]
        for group in groups:
            until(lambda: sum(committed(broker, group, topics.records).values()) == total, "all committed")  # noqa: B023
        assert [replica.terminate() for replica in started] == [0] * len(started)


def replayed(broker: str, topics: Topics) -> list[Found]:
    """Committed records that were sent again, as a client of another make reads them."""
    return [one for one in read_topic(broker, topics.records) if "replay-for" in one.headers]


def new_group(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def test_dead_letters_are_listed_by_what_they_have_in_common(broker: str, topics: Topics, tmp_path: Path) -> None:
    """Counts, places and samples; one group, reason or time of them; a value steers no terminal."""
    first, second = new_group("first"), new_group("second")
    publish_numbers(broker, topics, 0, 16)
    publish(broker, topics.records, [STEERING, *junk(9)], partition=3)
    set_aside(broker, topics, tmp_path, [first, second], 26)
    told = listed(broker, topics, "--samples=2")
    assert (told["letters"], told["markers"], told["no_dead_letters"]) == (20, 0, 0)
    assert {(kind["reason"], kind["service"], kind["group"], kind["count"]) for kind in told["kinds"]} == {
        ("invalid_record", "reading", first, 10),
        ("invalid_record", "reading", second, 10),
    }
    for kind in told["kinds"]:
        assert kind["places"] == {f"{topics.records} partition 3": {"first": 2, "last": 11, "count": 10}}
        assert kind["first"] <= kind["last"]
        assert len(kind["samples"]) == 2
        assert kind["samples"][0]["value"] == STEERING.decode()
    [of_first] = listed(broker, topics, f"--group={first}", "--since=-2h")["kinds"]
    assert of_first["group"] == first
    assert listed(broker, topics, "--reason=sink_failed")["letters"] == 0
    assert listed(broker, topics, "--since=2100-01-01")["letters"] == 0
    people = tool(broker, topics, "list")
    assert f"invalid_record: 10 from service reading, group {first}" in people.stdout
    assert "\x1b" not in people.stdout
    assert "\\x1b[2J{steering\\n" in people.stdout
    for wrong in ("--reason=ugly", "--since=yesterday", "--samples=-1"):
        assert tool(broker, topics, "list", wrong).returncode == 2


def test_a_groups_letters_are_sent_to_it_again_once(broker: str, topics: Topics, tmp_path: Path) -> None:
    """With their bytes, key and partition; those of another group are not. A second run finds nothing to send."""
    first, second = new_group("first"), new_group("second")
    values = junk(40)
    publish(broker, topics.records, values)
    set_aside(broker, topics, tmp_path, [first, second], 40)
    before = {one.value: one for one in read_topic(broker, topics.records)}
    asking = tool(broker, topics, "replay", f"--group={first}")
    assert (asking.returncode, replayed(broker, topics)) == (2, [])
    assert "no terminal to answer on" in asking.stderr
    done = tool(broker, topics, "replay", f"--group={first}", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Sent: 40 (invalid_record: 40)." in done.stdout
    again = tool(broker, topics, "replay", f"--group={first}", "--yes")
    assert "Nothing was sent.\n" in again.stdout
    assert "Sent by earlier runs: 40." in again.stdout
    found = replayed(broker, topics)
    assert Counter(one.value for one in found) == Counter(values)
    for one in found:
        assert one.headers["replay-for"] == first.encode()
        assert "replay" in one.headers
        assert (one.key, one.partition) == (before[one.value].key, before[one.value].partition)
    told = listed(broker, topics)
    assert (told["letters"], told["markers"]) == (80, 40)
    other = tool(broker, topics, "replay", f"--group={second}", "--reason=sink_failed", "--yes")
    assert "Nothing was sent: the group has no dead letters of this selection." in other.stdout


def test_the_person_at_the_terminal_is_asked(broker: str, topics: Topics, tmp_path: Path) -> None:
    """After seeing how many, with samples; a no sends nothing, a yes does."""
    group = new_group("asked")
    publish(broker, topics.records, junk(5))
    set_aside(broker, topics, tmp_path, [group], 5)
    for answer, code, sent in ((b"no\n", 1, 0), (b"yes\n", 0, 5)):
        shown, exit_code = at_a_terminal(command("replay", f"--group={group}"), environment(broker, topics), answer)
        assert b"To be sent: 5 (invalid_record: 5)." in shown
        assert b'{"junk":' in shown
        assert (exit_code, len(replayed(broker, topics))) == (code, sent)


def at_a_terminal(words: list[str], settings: dict[str, str], answer: bytes) -> tuple[bytes, int]:
    """What a command shows to somebody who answers its question, and its exit code."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        words, env=settings, cwd=ROOT, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.close(its)
    os.write(ours, answer)
    try:
        shown, _errors = process.communicate(timeout=DEADLINE_S)
    finally:
        os.close(ours)
    return shown, process.returncode


def end_of(consumer: Consumer, topics: Topics) -> int:
    places = [TopicPartition(topics.dead_letters, partition) for partition in range(topics.partition_count)]
    return sum(consumer.get_watermark_offsets(place, DEADLINE_S)[1] for place in places)


@contextmanager
def started_replay(broker: str, topics: Topics, group: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command("replay", f"--group={group}", "--yes"),
        env=environment(broker, topics),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def test_a_replay_that_is_killed_doubles_nothing(broker: str, topics: Topics, tmp_path: Path) -> None:
    """SIGKILL in the middle, twice; the run after that finishes, and who reads what is committed sees each once."""
    group, values = new_group("killed"), junk(20_000)
    publish(broker, topics.records, values)
    set_aside(broker, topics, tmp_path, [group], len(values))
    asker = Consumer({"bootstrap.servers": broker, "group.id": "ends"})
    with closing(asker):
        for _kill in range(2):
            before = end_of(asker, topics)
            with started_replay(broker, topics, group) as process:
                until(lambda: end_of(asker, topics) > before + 1500, "transactions before the kill")  # noqa: B023
                assert process.poll() is None, "the kill came after all was done"
    assert 1500 < len(replayed(broker, topics)) < len(values)
    done = tool(broker, topics, "replay", f"--group={group}", "--yes")
    assert done.returncode == 0, done.stderr
    assert Counter(one.value for one in replayed(broker, topics)) == Counter(values)


def test_without_a_broker_it_says_so(broker: str, topics: Topics) -> None:
    assert broker
    for words in (["list"], ["replay", "--group=g", "--yes"]):
        done = tool("127.0.0.1:1", topics, *words)
        assert done.returncode == 3, done.stderr
        assert "no answer from the broker" in done.stderr
        assert "Traceback" not in done.stderr
