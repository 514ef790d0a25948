"""make audit, make replay, make replay-dead-letters: what they say and do on a real topic."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.conftest import DEADLINE_S, PARTITION_COUNT, Topics, create_topics
from tests.integration.consumer_driver import ROOT, until
from tests.integration.producer_driver import Found, Site, append, audit, line, lines, read_topic

JUNK = b"this is no line of a log\n"


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics)


@pytest.fixture
def empty_topics(broker: str) -> Iterator[Topics]:
    """A second pair of topics, to be filled by hand."""
    run = uuid.uuid4().hex[:8]
    made = Topics(f"copied-{run}", f"copied-letters-{run}", f"no-state-{run}")
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    names = [made.records, made.dead_letters]
    create_topics(admin, [NewTopic(name, made.partition_count, 1) for name in names])
    yield made
    for future in admin.delete_topics(names).values():
        future.result(DEADLINE_S)


def confirmed(site: Site) -> int:
    """Bytes below the checkpoint, over all files."""
    try:
        return sum(file["position"] for file in json.loads(site.checkpoint.read_bytes())["files"])
    except FileNotFoundError:
        return 0


def deliver(site: Site, **settings: str) -> None:
    """Let a producer confirm what is in the log and its rotated siblings."""
    with site.producer(**settings) as producer:
        size = sum(path.stat().st_size for path in site.folder.glob("access.log*"))
        until(lambda: confirmed(site) == size, "all of the files confirmed")
        assert producer.terminate() == 0


def audited(site: Site, exit_code: int = 0, **settings: str) -> dict[str, Any]:
    """The audit's JSON; fails when it ends with another code."""
    done = site.tool("audit", "--json", **settings)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def copy(broker: str, topic: str, records: list[Found]) -> None:
    """Publish records as they are, in their partitions."""
    producer = Producer({"bootstrap.servers": broker})
    for record in records:
        producer.produce(
            topic, record.value, record.key, partition=record.partition, headers=list(record.headers.items())
        )
    assert producer.flush(DEADLINE_S) == 0


def test_the_audit_of_a_clean_run_finds_every_line(site: Site) -> None:
    """Records, dead letters, blank lines, a line that is too long, a rotated file, lines that are not sent yet."""
    append(site.log, lines(0, 5000) + b"\n" + JUNK + b"\r\n" + b"x" * 3000 + b"\n")
    deliver(site, MAX_LINE_BYTES="2000")
    site.log.rename(site.folder / "access.log.1")
    append(site.log, lines(5000, 100))
    deliver(site, MAX_LINE_BYTES="2000")
    append(site.log, lines(5100, 10))
    result = audited(site, MAX_LINE_BYTES="2000")
    assert result["clean"] is True
    by_name = {Path(file["path"]).name: file for file in result["files"]}
    assert by_name["access.log.1"]["lines"] == 5002
    assert by_name["access.log.1"]["records"] == 5000
    assert by_name["access.log.1"]["dead_letters"] == 2
    assert by_name["access.log.1"]["in_flight_bytes"] == 0
    assert by_name["access.log"]["records"] == 100
    assert by_name["access.log"]["in_flight_bytes"] == len(lines(5100, 10))
    said = site.tool("audit", MAX_LINE_BYTES="2000")
    assert said.returncode == 0
    assert "Every confirmed line of 2 files is in the topic, once" in said.stdout


def test_the_audit_of_a_run_with_kills_is_clean(site: Site) -> None:
    """Exactly once: the producer is killed three times in the middle of its work, and no line is doubled."""
    count = 60_000
    append(site.log, lines(0, count))
    for _kill in range(3):
        with site.producer(MAX_IN_FLIGHT_CHUNKS="1") as producer:
            before = confirmed(site)
            until(lambda: confirmed(site) > before, "progress before the kill")  # noqa: B023
            producer.kill()
    assert confirmed(site) < site.log.stat().st_size, "the kills came after all was done"
    deliver(site)
    [file] = audited(site)["files"]
    assert (file["lines"], file["records"], file["clean"]) == (count, count, True)


def test_an_audit_that_cannot_see_what_was_confirmed_fails(site: Site) -> None:
    """As in a container with other mounts: none of the files is there."""
    append(site.log, lines(0, 100))
    deliver(site)
    site.log.unlink()
    result = audited(site, exit_code=3)
    assert result["clean"] is False
    assert [(log["path"], log["confirmed"]) for log in result["unseen"]] == [(str(site.log), len(lines(0, 100)))]


def test_the_audit_names_exactly_the_ranges_that_differ(site: Site, empty_topics: Topics) -> None:
    """A topic with two holes, a doubled record, an altered one and a dead letter that is gone."""
    text = lines(0, 1000) + JUNK + lines(1000, 1000)
    append(site.log, text)
    deliver(site)
    starts = [0]
    for each in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(each))
    records = read_topic(site.bootstrap_servers, site.topics.records)
    by_offset = {json.loads(record.value)["source"]["offset"]: record for record in records}
    for number in (*range(10, 20), 1500):
        del by_offset[starts[number]]
    altered = by_offset[starts[42]]
    by_offset[starts[42]] = replace(altered, value=altered.value.replace(b'"status":200', b'"status":201'))
    copy(site.bootstrap_servers, empty_topics.records, [*by_offset.values(), by_offset[starts[7]]])
    copied = replace(site, topics=empty_topics)
    [file] = audited(copied, exit_code=1)["files"]
    assert file["missing"] == [[starts[10], starts[20]], [starts[1000], starts[1001]], [starts[1500], starts[1501]]]
    assert file["doubled"] == [[starts[7], starts[8]]]
    assert file["different"] == [[starts[42], starts[43]]]
    assert any("status" in sample for sample in file["samples"])
    said = copied.tool("audit")
    assert f"DOUBLED: {starts[8] - starts[7]} bytes in 1 ranges: {starts[7]}-{starts[8]}" in said.stdout


def test_the_audit_tells_what_retention_may_have_deleted(site: Site) -> None:
    """The oldest records of the topic are deleted: no difference, but said."""
    append(site.log, lines(0, 2000))
    deliver(site)
    records = read_topic(site.bootstrap_servers, site.topics.records)
    deleted = sorted(json.loads(each.value)["source"]["offset"] for each in records if each.offset < 20)
    admin = AdminClient({"bootstrap.servers": site.bootstrap_servers})
    places = [TopicPartition(site.topics.records, partition, 20) for partition in range(8)]
    for future in admin.delete_records(places).values():
        future.result(DEADLINE_S)
    [file] = audited(site)["files"]
    ranges = file["gone_by_retention"]
    assert deleted
    assert all(any(start <= offset < end for start, end in ranges) for offset in deleted)
    assert sum(text.count(b"\n") for text in (site.log.read_bytes()[slice(*each)] for each in ranges)) == len(deleted)


def test_lines_that_the_present_format_does_not_parse_are_not_called_different(site: Site) -> None:
    """LOG_FORMAT was changed after they were sent."""
    append(site.log, lines(0, 100))
    deliver(site)
    [file] = audited(site, LOG_FORMAT="common")["files"]
    assert file["unverified"] == [[0, site.log.stat().st_size]]


def test_without_a_broker_the_tools_say_so(site: Site) -> None:
    """Exit code 3, and the reason; a wrong argument is 2."""
    append(site.log, lines(0, 1))
    for tool in (["audit"], ["replay_dead_letters", "--yes"]):
        done = site.tool(*tool, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
        assert done.returncode == 3, done.stderr
        assert "no answer from the broker" in done.stderr
        assert "Traceback" not in done.stderr
    assert site.tool("audit", "--jsn").returncode == 2
    assert site.tool("audit", LOG_FORMAT="color").returncode == 2


def test_a_replay_is_marked_and_counted_apart(site: Site) -> None:
    """A range of bytes and a range of times; the audit stays clean."""
    append(site.log, lines(0, 300) + JUNK)
    deliver(site)
    start, end = len(lines(0, 100)), len(lines(0, 150))
    done = site.tool("replay", f"--file={site.log}", f"--from={start}", f"--to={end}", "--yes")
    assert done.returncode == 0, done.stderr
    assert "50 records and 0 dead letters" in done.stderr
    replayed = [each for each in read_topic(site.bootstrap_servers, site.topics.records) if "replay" in each.headers]
    assert audit([replace(each, offset=number) for number, each in enumerate(replayed)], 150).missing == list(range(20))
    assert len(replayed) == 50
    assert len({each.headers["replay"] for each in replayed}) == 1
    assert {json.loads(each.value)["source"]["offset"] for each in replayed} == {
        len(lines(0, n)) for n in range(100, 150)
    }
    by_time = site.tool(
        "replay", f"--file={site.log}", "--from=2015-05-17T10:05:03", "--to=2015-05-17T10:05:04", "--yes"
    )
    assert "Sent again and confirmed: 300." in by_time.stdout, by_time.stderr
    [file] = audited(site)["files"]
    assert (file["replayed"], file["records"], file["dead_letters"]) == (350, 300, 1)


def test_a_replay_refuses_what_it_cannot_mean(site: Site) -> None:
    """And names what it could."""
    append(site.log, lines(0, 10))
    deliver(site)
    size, first = site.log.stat().st_size, len(line(0))
    append(site.log, lines(10, 10))
    for arguments, told in (
        ((f"--file={site.folder}/other.log",), str(site.log)),
        ((f"--file={site.log}", f"--to={size + 1}"), f"only bytes below {size} are confirmed"),
        ((f"--file={site.log}", "--from=3"), f"nearest lines begin at 0 and {first}"),
        ((f"--file={site.log}", "--from=yesterday"), "neither a byte offset"),
        ((f"--file={site.log}", "--from=2016-01-01"), "nothing lies in this range"),
        ((f"--file={site.log}",), "YES=1"),
    ):
        done = site.tool("replay", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    assert len(read_topic(site.bootstrap_servers, site.topics.records)) == 10


def test_dead_letters_become_records_once(site: Site) -> None:
    """Made by a wrong LOG_FORMAT; what does not parse still stays, and a second run finds nothing to do."""
    append(site.log, lines(0, 1200) + JUNK)
    deliver(site, LOG_FORMAT="common")
    assert read_topic(site.bootstrap_servers, site.topics.records) == []
    asking = site.tool("replay_dead_letters")
    assert asking.returncode == 2
    assert "no terminal to answer on" in asking.stderr
    done = site.tool("replay_dead_letters", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Records now: 1,200 (unparseable_line: 1,200)." in done.stdout
    assert "Still dead letters: 1 (unparseable_line: 1)." in done.stdout
    assert "this is no line of a log" in done.stdout
    again = site.tool("replay_dead_letters", "--reason=unparseable_line", "--yes")
    assert "Records now: 0." in again.stdout
    assert "Records since earlier: 1,200." in again.stdout
    found = read_topic(site.bootstrap_servers, site.topics.records)
    result = audit(found, 1200)
    assert (result.complete, result.doubled) == (True, 0), result
    assert all("replay" in record.headers for record in found)
    assert audited(site)["files"][0]["replayed"] == 2400, "each record and its marker"


class Ends:
    """Looks, fast, at how far the dead-letter topic has grown."""

    def __init__(self, site: Site) -> None:
        self._topic = site.topics.dead_letters
        self._consumer = Consumer({"bootstrap.servers": site.bootstrap_servers, "group.id": "ends"})

    def total(self) -> int:
        places = [TopicPartition(self._topic, partition) for partition in range(PARTITION_COUNT)]
        return sum(self._consumer.get_watermark_offsets(place, DEADLINE_S)[1] for place in places)

    def close(self) -> None:
        self._consumer.close()


def committed_markers(site: Site) -> int:
    return sum("dlt-resolved" in each.headers for each in read_topic(site.bootstrap_servers, site.topics.dead_letters))


def start_replay(site: Site) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "services.producer.replay_dead_letters", "--yes"]
    return subprocess.Popen(
        command, env=site.environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_replay_of_dead_letters_that_is_killed_doubles_nothing(site: Site) -> None:
    """SIGKILL in the middle, twice; the run after that finishes, and whoever reads what is committed sees each once."""
    count = 20_000
    append(site.log, lines(0, count))
    deliver(site, LOG_FORMAT="common")
    with closing(Ends(site)) as ends:
        for _kill in range(2):
            before = ends.total()
            process = start_replay(site)
            until(lambda: ends.total() > before + 1500, "transactions before the kill")  # noqa: B023
            process.kill()
            process.wait(30)
            assert ends.total() < 2 * count, "the kill came after all was done"
    assert committed_markers(site) > 1500
    assert site.tool("replay_dead_letters", "--yes").returncode == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert (result.complete, result.doubled) == (True, 0), result


def test_two_replays_of_dead_letters_at_once_double_nothing(site: Site) -> None:
    """The later one fences the earlier, and at least one of them comes to the end."""
    count = 10_000
    append(site.log, lines(0, count))
    deliver(site, LOG_FORMAT="common")
    both = [start_replay(site), start_replay(site)]
    codes = {process.wait(90) for process in both}
    assert 0 in codes
    assert codes <= {0, 3}
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert (result.complete, result.doubled) == (True, 0), result
