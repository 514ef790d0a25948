"""The ledger of a real producer: its sums fit the files, whatever happened to the broker or to the producer."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compose.local.broker import Broker
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import until
from tests.integration.producer_driver import RunningProducer, Site, append, audit, line, lines, read_topic

JUNK, BLANK = b"no log line\n", b"  \n"
TALLIED = ("confirmed", "dead_lettered", "skipped", "in_flight")


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics)


class Asked:
    """A running producer, asked over HTTP. Every answer is checked for the equation."""

    def __init__(self, producer: RunningProducer) -> None:
        self.producer = producer
        producer.wait_for_event("http_listening")
        self._port = producer.events("http_listening")[0]["port"]
        producer.wait_for_event("producer_started")

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        code, text = self.get("/status")
        assert code == 200
        document: dict[str, Any] = json.loads(text)
        check(document)
        return document

    def file(self, path: Path) -> dict[str, Any]:
        """The one file that is at this path now."""
        found = [file for file in self.status()["files"] if file["path"] == str(path)]
        return found[0] if found else {"position": -1, "bytes": {}, "lines": {}, "stuck": None, "size": -1}

    def metrics(self) -> dict[str, float]:
        """Samples of the producer's own metrics, by name and labels."""
        text = self.get("/metrics")[1]
        return {
            name.removeprefix("nginx_pipeline_producer_"): float(value)
            for name, value in re.findall(r"^(nginx_pipeline_producer_\S+) (\S+)$", text, re.MULTILINE)
        }

    def wait_until_settled(self, path: Path) -> dict[str, Any]:
        """All of the file is read, and nothing of it is in flight."""

        def settled() -> bool:
            file = self.file(path)
            return bool(file["position"] == path.stat().st_size and file["lines"]["in_flight"] == 0)

        until(settled, f"all of {path.name} settled")
        return self.file(path)


def check(document: Mapping[str, Any]) -> None:
    """read = confirmed + dead-lettered + skipped + in flight + abandoned: of each file, of the others, and in all."""
    accounts = [*document["files"], document["others"]]
    for account in [*accounts, document["totals"]]:
        assert account["bytes"]["read"] == sum(account["bytes"][name] for name in (*TALLIED, "abandoned"))
        assert account["lines"]["read"] == sum(account["lines"][name] for name in TALLIED)
    for file in document["files"]:
        assert file["began_at"] + file["bytes"]["read"] - file["bytes"]["abandoned"] == file["position"]
    if not document["files_left_out"]:
        for unit in ("bytes", "lines"):
            for name, total in document["totals"][unit].items():
                assert total == sum(account[unit][name] for account in accounts), (unit, name)


@contextmanager
def asked(site: Site, **settings: str) -> Iterator[Asked]:
    with site.producer(**settings) as producer:
        yield Asked(producer)


def test_every_byte_and_line_has_its_class(site: Site) -> None:
    """Records, dead letters, blank lines; the metrics say the same as the document, and both what the topic holds."""
    content = lines(0, 300) + 20 * JUNK + 7 * BLANK + lines(300, 200)
    append(site.log, content)
    with asked(site) as producer:
        file = producer.wait_until_settled(site.log)
        assert file["lines"] == {
            "read": 527,
            "confirmed": 500,
            "dead_lettered": 20,
            "skipped": 7,
            "skipped_blank": 7,
            "skipped_already_delivered": 0,
            "in_flight": 0,
        }
        assert file["bytes"]["read"] == file["size"] == file["confirmed_position"] == len(content)
        assert (file["bytes"]["dead_lettered"], file["bytes"]["skipped"]) == (20 * len(JUNK), 7 * len(BLANK))
        document = producer.status()
        assert document["delivery"] == "exactly-once"
        assert document["session"]["connected"]
        assert document["session"]["since"]
        metrics = producer.metrics()
        for unit in ("bytes", "lines"):
            total = document["totals"][unit]
            assert metrics[f"read_{unit}_total"] == total["read"]
            assert metrics[f"in_flight_{unit}"] == total["in_flight"] == 0
            for state in ("confirmed", "dead_lettered", "skipped"):
                assert metrics[f'settled_{unit}_total{{state="{state}"}}'] == total[state]
        assert metrics["stuck_files"] == 0
        assert producer.producer.terminate() == 0
    assert len(read_topic(site.bootstrap_servers, site.topics.records)) == 500


def test_the_document_is_bounded_and_a_wrong_question_is_answered(site: Site) -> None:
    """`limit` files, with a count of the rest; nothing else may be asked for."""
    for number in range(5):
        append(site.folder / f"{number}.access.log", lines(number, 1))
    with asked(site) as producer:
        until(lambda: producer.status()["totals"]["lines"]["confirmed"] == 5, "all files confirmed")
        document = json.loads(producer.get("/status?limit=2")[1])
        assert (len(document["files"]), document["files_left_out"]) == (2, 3)
        code, text = producer.get("/status?limit=all")
        assert code == 400
        assert json.loads(text) == {"error": "limit=all is not a number of files from 0 to 1000"}
        assert producer.producer.terminate() == 0


def test_a_file_is_stuck_while_the_broker_is_away(site: Site, breakable_broker: Broker) -> None:
    """At the first byte that is not confirmed, because of the broker; told once, and once when it is over."""
    append(site.log, lines(0, 100))
    with asked(site, DELIVERY_TIMEOUT_MS="1000") as producer:
        confirmed = producer.wait_until_settled(site.log)["position"]
        breakable_broker.kill()
        append(site.log, lines(100, 400))
        until(lambda: producer.file(site.log)["stuck"] is not None, "the file counts as stuck")
        file = producer.file(site.log)
        assert file["confirmed_position"] == file["stuck"]["at_byte"] == confirmed
        assert file["stuck"]["cause"] == "broker"
        document = producer.status()
        assert not document["session"]["connected"]
        assert document["session"]["because"] == file["stuck"]["because"]
        assert file["lines"]["in_flight"] == 400
        metrics = producer.metrics()
        assert (metrics["stuck_files"], metrics["in_flight_lines"]) == (1, 400)
        assert metrics["stuck_seconds"] >= 10
        until(lambda: producer.producer.events("progress")[-1]["stuck_files"] == 1, "it is in the progress")
        breakable_broker.start()
        breakable_broker.wait_until_ready()
        file = producer.wait_until_settled(site.log)
        assert file["lines"]["read"] == 500
        producer.producer.wait_for_event("file_moving")
        assert [event["cause"] for event in producer.producer.events("file_stuck")] == ["broker"]
        assert producer.producer.terminate() == 0
    assert audit(read_topic(site.bootstrap_servers, site.topics.records), 500).complete


def test_a_line_without_its_newline_is_told(site: Site) -> None:
    """The whole lines before it went out; the rest waits for its end."""
    append(site.log, lines(0, 10) + b"192.0.2.1 - - [half a li")
    whole = len(lines(0, 10))
    with asked(site) as producer:
        until(lambda: producer.file(site.log)["stuck"] is not None, "the file counts as stuck")
        file = producer.file(site.log)
        assert (file["stuck"]["at_byte"], file["stuck"]["cause"]) == (whole, "unfinished_line")
        assert file["position"] == whole
        append(site.log, b"ne\n")
        assert producer.wait_until_settled(site.log)["lines"]["dead_lettered"] == 1
        producer.producer.wait_for_event("file_moving")
        assert producer.producer.terminate() == 0


def test_bytes_that_are_gone_unread_are_abandoned(site: Site) -> None:
    """The file is truncated under a line that was not finished: the old generation has lost so many bytes."""
    rest = b"192.0.2.1 - - [half a li"
    append(site.log, lines(0, 10) + rest)
    whole = len(lines(0, 10))
    with asked(site) as producer:
        until(lambda: producer.file(site.log)["bytes"].get("confirmed") == whole, "the whole lines confirmed")
        site.log.write_bytes(lines(10, 1))
        until(lambda: producer.status()["totals"]["bytes"]["abandoned"] > 0, "the loss told")
        producer.wait_until_settled(site.log)
        document = producer.status()
        abandoned = {file["began_at"] + file["bytes"]["confirmed"]: file["bytes"] for file in document["files"]}
        assert abandoned[whole]["abandoned"] == len(rest)
        assert abandoned[whole]["read"] == whole + len(rest)
        assert abandoned[len(line(10))]["abandoned"] == 0
        assert producer.metrics()['settled_bytes_total{state="abandoned"}'] == len(rest)
        assert producer.producer.terminate() == 0


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[Path]:
    """A log that nobody may read, root included: its read fails with an error of the system."""
    path = tmp_path / "mem.access.log"
    path.symlink_to("/proc/self/mem")
    yield path
    path.unlink()


def test_a_file_that_cannot_be_read_is_told(site: Site, unreadable: Path) -> None:
    """The others go on."""
    append(site.log, lines(0, 10))
    with asked(site) as producer:
        producer.wait_until_settled(site.log)
        until(lambda: producer.file(unreadable)["stuck"] is not None, "the file counts as stuck")
        stuck = producer.file(unreadable)["stuck"]
        assert (stuck["cause"], stuck["because"]) == ("unreadable", f"unreadable: {os.strerror(5)}")
        assert producer.producer.terminate() == 0


def test_after_a_kill_the_sums_fit_and_what_the_topic_has_is_skipped(site: Site) -> None:
    """The checkpoint is put back to the beginning: the second run reads all of it again and sends only what is new."""
    append(site.log, lines(0, 400) + 5 * JUNK + BLANK)
    with asked(site) as producer:
        until(lambda: site.checkpoint.exists(), "the first checkpoint")
        early = json.loads(site.checkpoint.read_bytes())
        first = producer.wait_until_settled(site.log)
        assert first["lines"]["confirmed"] == 400
        producer.producer.kill()
    # As if it had been written often before there was a session: it knows neither positions nor the topics' ends.
    files = [{**file, "position": 0} for file in early["files"]]
    site.checkpoint.write_text(json.dumps({**early, "sequence": 1000, "tails": {}, "files": files, "checksum": ""}))
    append(site.log, lines(400, 100))
    with asked(site) as producer:
        file = producer.wait_until_settled(site.log)
        assert file["began_at"] + file["bytes"]["read"] == file["size"] == site.log.stat().st_size
        delivered = file["lines"]["skipped_already_delivered"]
        assert delivered == file["lines"]["read"] - 100 - file["lines"]["skipped_blank"]
        assert file["lines"]["confirmed"] == 100
        assert producer.producer.terminate() == 0
    assert len(read_topic(site.bootstrap_servers, site.topics.records)) == 500
    assert len(read_topic(site.bootstrap_servers, site.topics.dead_letters)) == 5


def test_a_rotated_file_keeps_its_account(site: Site) -> None:
    """Two generations, two entries; together they are the lines of both."""
    append(site.log, lines(0, 50))
    with asked(site, RETIRE_AFTER_S="0.5") as producer:
        producer.wait_until_settled(site.log)
        site.log.rename(site.folder / "old.1")
        append(site.log, lines(50, 30))
        producer.wait_until_settled(site.log)
        producer.producer.wait_for_event("file_finished")
        document = producer.status()
        assert sorted(file["lines"]["confirmed"] for file in document["files"]) == [30, 50]
        assert producer.producer.terminate() == 0
