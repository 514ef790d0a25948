"""DELIVERY=exactly-once: whatever is lost of a producer but its files, each line is in the topic once."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from compose.local.broker import Broker
from tests.integration.conftest import DEADLINE_S, Topics, create_topics
from tests.integration.consumer_driver import until
from tests.integration.producer_driver import RunningProducer, Site, append, audit, lines, read_topic
from tests.integration.test_producer_faults import confirmed, writing


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics, {"SOURCE_HOST": "web-1"})


def end_offset(site: Site) -> int:
    """Of the first partition; a topic may be too new for an answer, which is 0 then."""
    reader = Consumer({"bootstrap.servers": site.bootstrap_servers, "group.id": "none"})
    try:
        _first, end = reader.get_watermark_offsets(TopicPartition(site.topics.records, 0), timeout=10)
    except KafkaException:
        return 0
    finally:
        reader.close()
    return int(end)


def records(site: Site) -> int:
    return len(read_topic(site.bootstrap_servers, site.topics.records))


def assert_exactly_once(site: Site, count: int) -> None:
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert result.exactly_once, result


def deliver_all(site: Site, producer: RunningProducer) -> None:
    until(lambda: confirmed(site) == site.log.stat().st_size, f"all confirmed; it says\n{producer.log_tail()}")
    assert producer.terminate() == 0


def deliver_some_and_kill(site: Site) -> None:
    """SIGKILL at once after confirmations that the checkpoint on disk does not know of."""
    before = end_offset(site)
    with site.producer(CHECKPOINT_INTERVAL_MS="60000", MAX_IN_FLIGHT_CHUNKS="1") as producer:
        until(lambda: end_offset(site) > before + 10, "records confirmed")
        producer.kill()


def test_what_no_checkpoint_knows_is_found_in_the_tail(site: Site) -> None:
    """Killed right after confirmations, again and again, until one kill came before Kafka's checkpoint knew of them."""
    count = found = 0
    while not found:
        assert count < 10 * 100_000, "no kill came before the checkpoint"
        append(site.log, lines(count, 100_000))
        count += 100_000
        deliver_some_and_kill(site)
        with site.producer() as producer:
            deliver_all(site, producer)
            found = producer.events("tail_read")[0]["lines_already_delivered"]
    assert_exactly_once(site, count)


def test_at_least_once_sends_again_what_the_checkpoint_does_not_know(site: Site) -> None:
    """The other mode, which shows that the test above would see a double."""
    append(site.log, lines(0, 300_000))
    site.settings = {**site.settings, "DELIVERY": "at-least-once"}
    deliver_some_and_kill(site)
    with site.producer() as producer:
        deliver_all(site, producer)
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), 300_000)
    assert result.complete, result
    assert result.doubled > 0, result


def test_dead_letters_come_once_too(site: Site) -> None:
    """They are looked for in their own topic."""
    append(site.log, b"no log line\n" * 20_000)
    with site.producer(CHECKPOINT_INTERVAL_MS="60000", MAX_IN_FLIGHT_CHUNKS="1") as producer:
        until(lambda: bool(read_topic(site.bootstrap_servers, site.topics.dead_letters)), "dead letters")
        producer.kill()
    with site.producer() as producer:
        deliver_all(site, producer)
    offsets = [
        int(letter.headers["dlt-source-offset"])
        for letter in read_topic(site.bootstrap_servers, site.topics.dead_letters)
    ]
    assert sorted(offsets) == [12 * number for number in range(20_000)]


def test_a_lost_checkpoint_is_found_in_kafka(site: Site) -> None:
    """Killed, and the folder with its checkpoint gone: the same again, after the lease of the dead one is over."""
    with writing(site.log) as writer:
        with site.producer() as producer:
            until(lambda: confirmed(site) > 200_000, "progress")
            producer.kill()
        shutil.rmtree(site.checkpoint.parent)
        with site.producer() as producer:
            producer.wait_for_event("checkpoint_found_in_kafka")
            producer.wait_for_event("broker_connected")
            until(lambda: confirmed(site) > 200_000, "progress without the old checkpoint")
            count = writer.finish()
            deliver_all(site, producer)
    assert_exactly_once(site, count)


def test_a_producer_moves_to_another_host_and_back(site: Site, tmp_path: Path) -> None:
    """Two checkpoints, one of them behind the other by then; the same files; no wait after a clean stop."""
    with writing(site.log) as writer:
        for folder in ("here", "there", "here"):
            checkpoint = tmp_path / folder / "checkpoint.json"
            with site.producer(CHECKPOINT_FILE=str(checkpoint)) as producer:
                producer.wait_for_event("broker_connected")
                before = writer.written
                until(lambda: writer.written > before + 5_000, "more lines")  # noqa: B023
                assert producer.terminate() == 0
        count = writer.finish()
    with site.producer(CHECKPOINT_FILE=str(tmp_path / "there" / "checkpoint.json")) as producer:
        until(lambda: records(site) == count, "everything in the topic")
        assert producer.terminate() == 0
    assert_exactly_once(site, count)


def test_two_producers_of_one_name_take_no_turns(site: Site, tmp_path: Path) -> None:
    """The second one waits and says for whom; it goes on when the first one is gone."""
    append(site.log, lines(0, 1000))
    with site.producer() as first:
        first.wait_for_event("broker_connected")
        with site.producer(CHECKPOINT_FILE=str(tmp_path / "other" / "checkpoint.json")) as second:
            second.wait_for_event("standing_by")
            (told,) = second.events("standing_by")
            assert f"process {first.process.pid} on " in told["error"]
            append(site.log, lines(1000, 1000))
            until(lambda: records(site) == 2000, "the first one goes on")
            assert first.events("service_failed") == []
            assert first.terminate() == 0
            second.wait_for_event("broker_connected")
            append(site.log, lines(2000, 1000))
            until(lambda: records(site) == 3000, "the second one goes on")
            assert second.terminate() == 0
    assert_exactly_once(site, 3000)


def test_two_producers_on_one_checkpoint_are_refused(site: Site) -> None:
    """At once, and with the name of the setting."""
    with site.producer() as first:
        first.wait_for_event("producer_started")
        with site.producer() as second:
            assert second.process.wait(30) == 1
            (told,) = second.events("service_failed")
            assert "CHECKPOINT_FILE" in told["error"]
            assert f"process {first.process.pid}" in told["error"]


def test_a_zombie_writes_nothing_that_counts_and_says_who_took_over(site: Site, tmp_path: Path) -> None:
    """Stopped in the middle of its work past the lease, awake when the successor has done everything."""
    append(site.log, lines(0, 150_000))
    with site.producer() as zombie:
        until(lambda: records(site) > 1000, "records of the first one")
        zombie.process.send_signal(signal.SIGSTOP)
        with site.producer(CHECKPOINT_FILE=str(tmp_path / "other" / "checkpoint.json")) as successor:
            successor.wait_for_event("broker_connected")
            until(lambda: records(site) == 150_000, "the successor finishes")
            zombie.process.send_signal(signal.SIGCONT)
            append(site.log, lines(150_000, 1000))
            assert zombie.process.wait(60) == 1
            (told,) = zombie.events("service_failed")
            assert told["error_type"] == "Fenced"
            assert f"process {successor.process.pid} on " in told["error"]
            until(lambda: records(site) == 151_000, "the successor goes on")
            assert successor.terminate() == 0
    assert_exactly_once(site, 151_000)


def test_a_fence_that_is_raised_anew_all_the_time_costs_nothing_and_doubles_nothing(site: Site) -> None:
    """What an hour does, each second."""
    with writing(site.log) as writer, site.producer(FENCE_INTERVAL_S="1") as producer:
        producer.wait_for_event("tail_read", 5)
        count = writer.finish()
        deliver_all(site, producer)
        assert producer.events("broker_unavailable") == []
    assert_exactly_once(site, count)


def test_partitions_added_under_load_are_used_and_looked_into(site: Site) -> None:
    """A new session begins; a killed producer looks for its lines in the new partitions too."""
    admin = AdminClient({"bootstrap.servers": site.bootstrap_servers})
    with writing(site.log) as writer:
        with site.producer(CHECKPOINT_INTERVAL_MS="60000") as producer:
            producer.wait_for_event("broker_connected")
            more = site.topics.partition_count + 4
            for added in admin.create_partitions([NewPartitions(site.topics.records, more)]).values():
                added.result(DEADLINE_S)
            producer.wait_for_event("partitions_added")
            producer.wait_for_event("tail_read", 2)
            until(lambda: writer.written > 20_000, "more lines")
            producer.kill()
        count = writer.finish()
    with site.producer() as producer:
        deliver_all(site, producer)
    found = read_topic(site.bootstrap_servers, site.topics.records, more)
    assert {record.partition for record in found} > set(range(site.topics.partition_count))
    result = audit(found, count)
    assert not result.missing
    assert not result.doubled


def test_a_topic_that_was_made_anew_is_told(site: Site) -> None:
    """What was confirmed in the old one is gone with it and not sent again; what comes goes into the new one."""
    append(site.log, lines(0, 1000))
    with site.producer() as producer:
        deliver_all(site, producer)
    admin = AdminClient({"bootstrap.servers": site.bootstrap_servers})
    admin.delete_topics([site.topics.records])[site.topics.records].result(DEADLINE_S)
    until(lambda: site.topics.records not in admin.list_topics(timeout=10).topics, "the topic is gone")
    create_topics(admin, [NewTopic(site.topics.records, site.topics.partition_count, 1)])
    append(site.log, lines(1000, 500))
    with site.producer() as producer:
        producer.wait_for_event("topic_recreated")
        deliver_all(site, producer)
    values = [json.loads(found.value)["path"] for found in read_topic(site.bootstrap_servers, site.topics.records)]
    assert sorted(values) == sorted(f"/numbered/{number}" for number in range(1000, 1500))


def test_a_start_without_disk_and_broker_takes_over_what_kafka_keeps(site: Site, breakable_broker: Broker) -> None:
    """It ends with a message, and its next start skips nothing although START_AT=end would."""
    append(site.log, lines(0, 1000))
    with site.producer() as producer:
        deliver_all(site, producer)
    shutil.rmtree(site.checkpoint.parent)
    breakable_broker.kill()
    append(site.log, lines(1000, 1000))
    with site.producer(START_AT="end") as producer:
        producer.wait_for_event("producer_started")
        breakable_broker.start()
        assert producer.process.wait(DEADLINE_S) == 1
        assert "Start it again" in producer.events("service_failed")[0]["error"]
    with site.producer(START_AT="end") as producer:
        deliver_all(site, producer)
    assert_exactly_once(site, 2000)


@pytest.mark.parametrize(("start_at", "rotated"), [("end", False), ("beginning", True)])
def test_a_start_without_disk_and_broker_that_was_killed_is_no_last_run(
    site: Site, breakable_broker: Broker, start_at: str, rotated: bool
) -> None:
    """It wrote a checkpoint and knew nothing: the next start asks Kafka all the same."""
    append(site.log, lines(0, 1000))
    with site.producer() as producer:
        deliver_all(site, producer)
    shutil.rmtree(site.checkpoint.parent)
    breakable_broker.kill()
    append(site.log, lines(1000, 1000))
    if rotated:
        site.log.rename(site.folder / "access.log.1")
        append(site.log, lines(2000, 500))
    with site.producer(START_AT=start_at) as producer:
        until(site.checkpoint.exists, "a checkpoint")
        producer.kill()
    breakable_broker.start()
    breakable_broker.wait_until_ready()
    with site.producer(START_AT=start_at) as producer:
        producer.wait_for_event("checkpoint_found_in_kafka")
        count = 2500 if rotated else 2000
        until(lambda: records(site) == count, "everything in the topic")
        assert producer.terminate() == 0
    assert_exactly_once(site, count)


def test_another_producer_of_the_host_is_not_waited_for(site: Site) -> None:
    """Its lines stand in the same topics under the same host, and this one reads none of its files."""
    append(site.log, lines(0, 1000))
    with site.producer() as producer:
        deliver_all(site, producer)
    append(site.folder / "other" / "other.log", lines(1000, 5000))
    other = {"LOG_FILES": str(site.folder / "other" / "*.log"), "CHECKPOINT_FILE": str(site.folder / "other" / "state")}
    with site.producer(SERVICE_NAME="second", **other) as second:
        until(lambda: records(site) == 6000, "the lines of the other one")
        assert second.terminate() == 0
    with site.producer(FENCE_INTERVAL_S="1") as producer:
        producer.wait_for_event("tail_read", 3)
        read = [event["records"] for event in producer.events("tail_read")]
        found = [event["lines_already_delivered"] for event in producer.events("tail_read")]
        assert producer.terminate() == 0
    assert read[0] >= 5000
    assert read[2] == 0
    assert found[:3] == [0, 0, 0]
