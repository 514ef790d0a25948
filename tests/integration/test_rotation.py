"""Rotation by the programs that do it on a server: Debian's logrotate, and nginx that opens its log anew."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose.local.site import SEARCHED, find_nginx
from tests.integration.conftest import Topics
from tests.integration.consumer_driver import until
from tests.integration.producer_driver import EXIT_TIMEOUT_S, RunningProducer, Site, append, audit, lines, read_topic

ROTATE_TIMEOUT_S = 30.0


@pytest.fixture
def site(tmp_path: Path, broker: str, topics: Topics) -> Site:
    return Site(tmp_path, broker, topics)


class Logrotate:
    """The program, with a configuration for the log of a site."""

    def __init__(self, site: Site, *directives: str) -> None:
        program = shutil.which("logrotate") or shutil.which("logrotate", path=":".join(SEARCHED))
        if program is None:
            pytest.fail("logrotate is missing: apt-get install logrotate")
        self._configuration = site.folder / "logrotate.conf"
        body = "\n".join(f"    {directive}" for directive in directives)
        self._configuration.write_text(f"{site.log} {{\n{body}\n}}\n")
        self._configuration.chmod(0o644)
        self._command = [program, "--force", "--state", str(site.folder / "logrotate.state"), str(self._configuration)]

    def rotate(self) -> None:
        done = subprocess.run(self._command, capture_output=True, text=True, timeout=ROTATE_TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr


def records_in(site: Site) -> int:
    return len(read_topic(site.bootstrap_servers, site.topics.records))


def wait_for(site: Site, producer: RunningProducer, count: int) -> None:
    try:
        until(lambda: records_in(site) >= count, f"{count} lines in the topic")
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {records_in(site)}; it says\n{producer.log_tail()}") from None


def test_logrotate_renames_creates_and_compresses(site: Site) -> None:
    """While the producer runs, and several times while it does not: each line once, the gzips read on inside."""
    logrotate = Logrotate(site, "rotate 9", "create", "compress")
    append(site.log, lines(0, 500))
    with site.producer() as producer:
        wait_for(site, producer, 500)
        for rotation in (1, 2):
            append(site.log, lines(rotation * 500, 250))
            logrotate.rotate()
            append(site.log, lines(rotation * 500 + 250, 250))
            producer.wait_for_event("file_rotated", rotation)
        wait_for(site, producer, 1500)
        assert producer.terminate() == 0
    for rotation in (3, 4, 5):
        append(site.log, lines(rotation * 500, 500))
        logrotate.rotate()
    append(site.log, lines(3000, 500))
    assert len(list(site.folder.glob("access.log.*.gz"))) == 5
    with site.producer() as producer:
        wait_for(site, producer, 3500)
        assert producer.events("bytes_lost") == []
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), 3500)
    assert result.complete, result
    assert result.doubled == 0


def test_logrotate_copies_and_truncates(site: Site) -> None:
    """The copy is no new file, and it holds what was written while nobody read."""
    logrotate = Logrotate(site, "rotate 9", "copytruncate")
    append(site.log, lines(0, 500))
    with site.producer(LOG_FILES=str(site.folder / "access.log*")) as producer:
        wait_for(site, producer, 500)
        logrotate.rotate()
        append(site.log, lines(500, 600))
        producer.wait_for_event("file_truncated")
        wait_for(site, producer, 1100)
        assert producer.terminate() == 0
    append(site.log, lines(1100, 400))
    logrotate.rotate()
    append(site.log, lines(1500, 900))
    with site.producer(LOG_FILES=str(site.folder / "access.log*")) as producer:
        wait_for(site, producer, 2400)
        assert producer.events("bytes_lost") == []
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), 2400)
    assert result.complete, result
    assert result.doubled == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx_logging_to(site: Site) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A running nginx with one worker, and its port."""
    program = find_nginx()
    if program is None:
        pytest.fail("nginx is missing: apt-get install nginx-light")
    port, folder = free_port(), site.folder / "nginx"
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; events {{}}\n"
        f"http {{ access_log {site.log} combined; {places}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }} }}\n"
    )
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait(EXIT_TIMEOUT_S)


def visit(port: int, numbers: range) -> None:
    """A request per number, all over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ROTATE_TIMEOUT_S)
    for number in numbers:
        connection.request("GET", f"/numbered/{number}")
        answer = connection.getresponse()
        assert answer.read() == b""
        assert answer.status == 200
    connection.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_opens_its_log_anew(site: Site) -> None:
    """Renamed under it, it writes on to the old file until USR1, then to a new one: each line once."""
    with nginx_logging_to(site) as (nginx, port), site.producer() as producer:
        until(lambda: answers(port), "nginx answers")
        count = 0
        for rotation in range(3):
            visit(port, range(count, count + 100))
            wait_for(site, producer, count + 100)
            site.log.rename(site.folder / f"access.log.{rotation}")
            visit(port, range(count + 100, count + 200))
            nginx.send_signal(signal.SIGUSR1)
            until(site.log.exists, "the new log")
            visit(port, range(count + 200, count + 300))
            count += 300
            producer.wait_for_event("file_rotated", rotation + 1)
        wait_for(site, producer, count)
        assert producer.terminate() == 0
    result = audit(read_topic(site.bootstrap_servers, site.topics.records), count)
    assert result.complete, result
    assert result.doubled == 0
