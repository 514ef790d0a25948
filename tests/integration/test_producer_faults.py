"""The producer and faults: what was written is in the topic, whatever died meanwhile."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose.local.broker import Broker
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import until
from tests.integration.producer_driver import Site, append, audit, line, lines, read_topic


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics)


class Writer(threading.Thread):
    """Writes numbered lines at a steady rate until it is stopped."""

    def __init__(self, path: Path, lines_per_s: int) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._lines_per_s = lines_per_s
        self._ended = threading.Event()
        self.written = 0

    def run(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            while not self._ended.wait(0.01):
                count = self._lines_per_s // 100
                file.write(b"".join(line(number) for number in range(self.written, self.written + count)))
                self.written += count

    def finish(self) -> int:
        self._ended.set()
        self.join(10)
        return self.written


@contextmanager
def writing(path: Path, lines_per_s: int = 5000) -> Iterator[Writer]:
    writer = Writer(path, lines_per_s)
    writer.start()
    try:
        yield writer
    finally:
        writer.finish()


def confirmed(site: Site) -> int:
    """Bytes below the checkpoint, over all files."""
    try:
        return sum(file["position"] for file in json.loads(site.checkpoint.read_bytes())["files"])
    except FileNotFoundError:
        return 0


def finish(site: Site, count: int) -> None:
    """Let a last producer confirm everything, then compare the topic with what was written."""
    with site.producer() as producer:
        until(lambda: confirmed(site) == site.log.stat().st_size, "all of the file confirmed")
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert result.exactly_once, result


def test_sigkill_at_any_moment_loses_and_doubles_nothing(site: Site) -> None:
    """Killed six times in the middle of the work; nothing comes twice either."""
    with writing(site.log) as writer:
        for _kill in range(6):
            with site.producer() as producer:
                before = confirmed(site)
                until(lambda: confirmed(site) > before, "progress before the kill")  # noqa: B023
                producer.kill()
            assert confirmed(site) < site.log.stat().st_size, "the kill came after all was done"
        count = writer.finish()
    finish(site, count)


def test_broker_killed_and_restarted_loses_nothing(site: Site, breakable_broker: Broker) -> None:
    """The producer stays; it says once that the broker is away and goes on by itself."""
    with site.producer(DELIVERY_TIMEOUT_MS="2000") as producer, writing(site.log) as writer:
        for _kill in range(2):
            before = confirmed(site)
            until(lambda: confirmed(site) > before, "progress before the kill")  # noqa: B023
            pid = breakable_broker.pid
            breakable_broker.kill()
            stalled = confirmed(site)
            until(lambda: site.log.stat().st_size > stalled + 500_000, "lines written while the broker is away")  # noqa: B023
            breakable_broker.start()
            breakable_broker.wait_until_ready()
            assert breakable_broker.pid != pid
            until(lambda: confirmed(site) > stalled + 500_000, "progress after the restart")  # noqa: B023
        count = writer.finish()
        until(lambda: confirmed(site) == site.log.stat().st_size, "all of the file confirmed")
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert result.exactly_once, result


def test_a_broker_that_hangs_is_noticed_and_survived(site: Site, breakable_broker: Broker) -> None:
    """SIGSTOP: connections stay open and nobody answers. The client is replaced, nothing is lost."""
    with site.producer(DELIVERY_TIMEOUT_MS="2000", KAFKA_REQUEST_TIMEOUT_MS="1000") as producer:
        append(site.log, lines(0, 1000))
        until(lambda: confirmed(site) > 0, "progress before the fault")
        breakable_broker.pause()
        append(site.log, lines(1000, 1000))
        producer.wait_for_event("broker_unavailable")
        breakable_broker.resume()
        until(lambda: confirmed(site) == site.log.stat().st_size, "all of the file confirmed")
        producer.wait_for_event("broker_connected", 2)
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), 2000)
    assert result.exactly_once, result


def test_sigterm_while_the_broker_is_away_exits_in_time_and_keeps_every_line(
    site: Site, breakable_broker: Broker
) -> None:
    """Other shippers deliver 0 of 20,000 here. Memory stays bounded, one log line tells."""
    append(site.log, lines(0, 10))
    with site.producer() as producer:
        until(lambda: confirmed(site) == site.log.stat().st_size, "the first lines confirmed")
        before = site.checkpoint.read_bytes()
        breakable_broker.kill()
        append(site.log, lines(10, 19_990))
        until(lambda: in_flight(producer.events("progress")), "lines read while the broker is away")
        started = time.monotonic()
        assert producer.terminate(timeout_s=15) == 0
        assert time.monotonic() - started < 10  # SHUTDOWN_TIMEOUT_S
        assert site.checkpoint.read_bytes() == before
    breakable_broker.start()
    breakable_broker.wait_until_ready()
    finish(site, 20_000)


def in_flight(events: list[dict[str, int]]) -> bool:
    return bool(events) and events[-1]["in_flight_bytes"] > 0


def test_a_broker_absent_at_start_is_waited_for(site: Site, breakable_broker: Broker) -> None:
    """One line in the log for the state, not one per attempt."""
    breakable_broker.kill()
    append(site.log, lines(0, 2000))
    with site.producer() as producer:
        producer.wait_for_event("broker_unavailable")
        producer.wait_for_event("progress", 5)
        breakable_broker.start()
        breakable_broker.wait_until_ready()
        until(lambda: confirmed(site) == site.log.stat().st_size, "all of the file confirmed")
        assert len(producer.events("broker_unavailable")) == 1
        assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 2000).complete


def test_a_file_truncated_while_its_lines_are_unconfirmed_loses_nothing(site: Site, breakable_broker: Broker) -> None:
    """What was read is kept until it is confirmed; the file need not be there any more."""
    append(site.log, lines(0, 10))
    with site.producer(DELIVERY_TIMEOUT_MS="1000") as producer:
        until(lambda: confirmed(site) == site.log.stat().st_size, "the first lines confirmed")
        breakable_broker.kill()
        append(site.log, lines(10, 500))
        until(lambda: in_flight(producer.events("progress")), "lines read while the broker is away")
        producer.wait_for_event("broker_unavailable")
        site.log.write_bytes(b"")
        producer.wait_for_event("file_truncated")
        append(site.log, lines(510, 100))
        breakable_broker.start()
        breakable_broker.wait_until_ready()
        until(lambda: len(read_topic(site.bootstrap_servers, site.topics.records)) >= 610, "all lines in the topic")
        assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 610).complete


def test_a_second_signal_ends_it_at_once(site: Site, breakable_broker: Broker) -> None:
    """However long the drain would take: there are lines in flight and no broker."""
    append(site.log, lines(0, 10))
    with site.producer(SHUTDOWN_TIMEOUT_S="3600") as producer:
        until(lambda: confirmed(site) == site.log.stat().st_size, "the first lines confirmed")
        breakable_broker.kill()
        append(site.log, lines(10, 1000))
        until(lambda: in_flight(producer.events("progress")), "lines in flight")
        producer.process.send_signal(signal.SIGTERM)
        producer.wait_for_event("shutdown_requested")
        assert producer.process.poll() is None
        producer.process.send_signal(signal.SIGINT)
        assert producer.process.wait(5) == 128 + signal.SIGINT


def test_a_file_rotated_after_a_stop_without_a_broker_is_delivered(site: Site, breakable_broker: Broker) -> None:
    """Followed, never confirmed, rotated while nobody ran: it was in the checkpoint from the first look on."""
    breakable_broker.kill()
    append(site.log, lines(0, 100))
    with site.producer(SHUTDOWN_TIMEOUT_S="6") as producer:
        producer.wait_for_event("broker_unavailable")
        until(lambda: site.checkpoint.exists(), "the checkpoint written")
        assert producer.terminate() == 0
    site.log.rename(site.folder / "access.log.1")
    append(site.log, lines(100, 50))
    breakable_broker.start()
    breakable_broker.wait_until_ready()
    with site.producer() as producer:
        until(lambda: len(read_topic(site.bootstrap_servers, site.topics.records)) >= 150, "all lines in the topic")
        assert producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 150).complete
