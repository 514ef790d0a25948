"""The producer on real files and a real broker, while nothing breaks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from tests.integration.conftest import DEADLINE_S, PARTITION_COUNT, Topics, create_topics
from tests.integration.consumer_driver import ROOT, until
from tests.integration.producer_driver import EXIT_TIMEOUT_S, Site, append, audit, line, lines, read_topic


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics)


def count_in(site: Site, topic: str) -> int:
    return len(read_topic(site.bootstrap_servers, topic))


def made_sample() -> bytes:
    """Lines of every kind, one of them cut."""
    odd = [
        b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "" 400 0 "-" "-"\n',
        b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "\\x16\\x03\\x01" 400 0 "-" "-"\n',
        b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /\\xC3\\xBCber HTTP/1.1" 200 - "-" "\\xFF"\n',
        b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "cut off\n',
        b"\x00\x01\x02\xff\n",
    ]
    return lines(0, 2000) + b"".join(odd) + lines(2000, 500)


def test_every_line_of_a_real_log_is_accounted_for_byte_by_byte(site: Site) -> None:
    """Records and dead letters name disjoint ranges of the file that cover all of it; the rejected bytes are there.

    REAL_LOG names a real access log to use instead of the made one.
    """
    real = os.environ.get("REAL_LOG")
    content = Path(real).read_bytes() if real else made_sample()
    site.log.write_bytes(content)
    total = content.count(b"\n")
    with site.producer() as producer:
        until(lambda: position(site) == len(content), "all of the file confirmed")
        assert producer.terminate() == 0
    records = [json.loads(message.value) for message in read_topic(site.bootstrap_servers, site.topics.records)]
    letters = read_topic(site.bootstrap_servers, site.topics.dead_letters)
    spans = [(record["source"]["offset"], record["source"]["length"]) for record in records]
    for letter in letters:
        headers = letter.headers
        offset, length = int(headers["dlt-source-offset"]), int(headers["dlt-raw-length"])
        assert content[offset : offset + length] == letter.value
        assert headers["dlt-source-file"].decode() == str(site.log)
        assert headers["dlt-reason"] == b"unparseable_line"
        spans.append((offset, length))
    assert len(spans) == total
    covered = 0
    for offset, length in sorted(spans):
        assert offset == covered
        assert content[offset + length : offset + length + 1] == b"\n"
        covered = offset + length + 1
    assert covered == len(content)
    for record in records:
        place = record["source"]
        raw = content[place["offset"] : place["offset"] + place["length"]]
        assert raw.startswith(record["client_address"].encode())
        if record["path"] and record["path"].isascii() and not record["escaped_fields"]:
            assert record["path"].split('"')[0].encode() in raw
    assert 0 < len(letters) < total / 100
    print(f"{total} lines, {len(records)} records, {len(letters)} dead letters, {digest(content)}")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def position(site: Site) -> int:
    """The confirmed position of the first file in the checkpoint."""
    try:
        files = json.loads(site.checkpoint.read_bytes())["files"]
    except FileNotFoundError:
        return 0
    return int(files[0]["position"]) if files else 0


def test_lines_arrive_once_keyed_by_client_and_in_order(site: Site) -> None:
    """In steady operation nothing is doubled, and the key decides the partition."""
    append(site.log, lines(0, 3000))
    with site.producer() as producer:
        producer.wait_for_event("broker_connected")
        append(site.log, lines(3000, 2000))
        until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
        assert producer.terminate() == 0
    messages = read_topic(site.bootstrap_servers, site.topics.records)
    result = audit(messages, 5000)
    assert result.complete, result
    assert result.doubled == 0
    by_key: dict[bytes, set[int]] = {}
    for message in messages:
        by_key.setdefault(message.key, set()).add(message.partition)
        assert json.loads(message.value)["client_address"].encode() == message.key
    assert all(len(partitions) == 1 for partitions in by_key.values())
    assert len({message.partition for message in messages}) == PARTITION_COUNT


@pytest.mark.parametrize("partition_by", ["file", "spread"])
def test_the_other_ways_to_partition(site: Site, partition_by: str) -> None:
    """`file` keeps a file in one partition, `spread` fills all of them."""
    append(site.log, lines(0, 2000))
    with site.producer(PARTITION_BY=partition_by) as producer:
        until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
        assert producer.terminate() == 0
    messages = read_topic(site.bootstrap_servers, site.topics.records)
    assert audit(messages, 2000).complete
    used = {message.partition for message in messages}
    assert len(used) == (1 if partition_by == "file" else PARTITION_COUNT)


def test_lines_that_are_too_long_or_too_large_become_dead_letters(site: Site) -> None:
    """Over MAX_LINE_BYTES, or over what the topic takes once parsed; the rest goes on."""
    limit(site, site.topics.records, "max.message.bytes", "20000")
    too_large = line(0).replace(b"x=1", b"x=" + b"1" * 30_000)
    too_long = b"y" * 70_000 + b"\n"
    append(site.log, lines(0, 10) + too_long + too_large + lines(10, 10))
    with site.producer(MAX_LINE_BYTES="50000") as producer:
        until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
        assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 20).complete
    letters = {
        letter.headers["dlt-reason"]: letter for letter in read_topic(site.bootstrap_servers, site.topics.dead_letters)
    }
    assert letters.keys() == {b"line_too_long", b"record_too_large"}
    headers = letters[b"line_too_long"].headers
    assert int(headers["dlt-raw-length"]) == 70_000
    assert int(headers["dlt-source-offset"]) == len(lines(0, 10))
    assert too_large.startswith(letters[b"record_too_large"].value[:10_000])


def limit(site: Site, topic: str, name: str, value: str) -> None:
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        topic,
        incremental_configs=[ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)],
    )
    admin = AdminClient({"bootstrap.servers": site.bootstrap_servers})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(DEADLINE_S)


def test_rotation_under_load_loses_nothing(site: Site) -> None:
    """Renamed five times while lines are written; the late lines of a stale writer too."""
    number = 0
    with site.producer() as producer:
        producer.wait_for_event("broker_connected")
        for rotation in range(5):
            with site.log.open("ab") as stale_writer:
                stale_writer.write(lines(number, 400))
                stale_writer.flush()
                producer.wait_for_event("file_followed", rotation + 1)
                site.log.rename(site.folder / f"access.log.{rotation}")
                append(site.log, lines(number + 500, 100))
                stale_writer.write(lines(number + 400, 100))
            number += 600
            producer.wait_for_event("file_rotated", rotation + 1)
        until(lambda: count_in(site, site.topics.records) >= number, "all lines in the topic")
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), number)
    assert result.complete, result
    assert result.doubled == 0


def test_a_restart_sends_nothing_twice_after_a_clean_stop(site: Site) -> None:
    """SIGTERM confirms what was read and writes the checkpoint."""
    append(site.log, lines(0, 1000))
    for start in range(3):
        with site.producer() as producer:
            producer.wait_for_event("broker_connected")
            until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
            append(site.log, lines((start + 1) * 1000, 1000))
            assert producer.terminate() == 0
    with site.producer() as producer:
        producer.wait_for_event("broker_connected")
        until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), 4000)
    assert result.complete, result
    assert result.doubled == 0


def test_start_at_the_end(site: Site) -> None:
    """What was there when the pattern was first followed is skipped, what comes later is not, restarts included."""
    append(site.log, b"no access log\n" * 100)
    with site.producer(LOG_FILES="/nowhere/*.log") as producer:
        producer.wait_for_event("broker_connected")
        assert producer.terminate() == 0
    for start in range(2):
        with site.producer(START_AT="end") as producer:
            producer.wait_for_event("broker_connected")
            append(site.log, lines(start * 50, 50))
            until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
            assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 100).complete
    assert count_in(site, site.topics.dead_letters) == 0


def test_topics_that_are_not_there_yet_are_waited_for(site: Site) -> None:
    """One line in the log, no loss, no crash."""
    admin = AdminClient({"bootstrap.servers": site.bootstrap_servers})
    late = replace(site.topics, records="late-" + site.topics.records)
    site = Site(site.folder, site.bootstrap_servers, late)
    append(site.log, lines(0, 100))
    with site.producer() as producer:
        producer.wait_for_event("broker_unavailable")
        create_topics(admin, [NewTopic(late.records, PARTITION_COUNT, 1)])
        until(lambda: position(site) == site.log.stat().st_size, "all confirmed")
        assert len(producer.events("broker_unavailable")) == 1
        assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, late.records), 100).complete
    for future in admin.delete_topics([late.records]).values():
        future.result(DEADLINE_S)


def test_a_checkpoint_that_cannot_be_written_stops_nothing(site: Site) -> None:
    """It is said once, counted, and written as soon as that works again."""
    blocked = site.checkpoint.with_name(site.checkpoint.name + ".new")
    blocked.mkdir(parents=True)
    append(site.log, lines(0, 500))
    with site.producer() as producer:
        until(lambda: count_in(site, site.topics.records) == 500, "all lines in the topic")
        append(site.log, lines(500, 500))
        until(lambda: count_in(site, site.topics.records) == 1000, "all lines in the topic")
        assert len(producer.events("checkpoint_failed")) == 1
        assert not site.checkpoint.exists()
        blocked.rmdir()
        producer.wait_for_event("checkpoint_recovered")
        assert position(site) == site.log.stat().st_size
        assert producer.terminate() == 0


@pytest.mark.parametrize("damage", [b"", b"\x00" * 200, b"{", b'{"version": 2, "files": []}', b'{"version": 1}'])
def test_a_damaged_checkpoint_is_refused(site: Site, damage: bytes) -> None:
    """To start over silently would send every file again."""
    site.checkpoint.parent.mkdir()
    site.checkpoint.write_bytes(damage)
    with site.producer() as producer:
        assert producer.process.wait(EXIT_TIMEOUT_S) == 1
        (failure,) = producer.events("service_failed")
        assert str(site.checkpoint) in failure["error"]
    assert site.checkpoint.read_bytes() == damage


def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed() -> None:
    """Before anything is started; exit code 2."""
    settings = {"PARTITION_BY": "color", "MAX_LINE_BYTES": "12", "LOG_FORMAT": "fancy"}
    result = subprocess.run(
        [sys.executable, "-m", "services.producer"],
        env={"PATH": os.environ["PATH"], **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=EXIT_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 2
    for name, value in settings.items():
        assert f"{name}='{value}'" in result.stderr
    assert "'client', 'file' or 'spread'" in result.stderr
