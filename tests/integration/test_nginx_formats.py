"""A real nginx writes logs in its own formats; what it wrote is read back by its own configuration."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compose.local.ports import free_port
from services.producer.chunk import Chunk, FileIdentity
from services.producer.nginx.choice import load_choice
from services.producer.parse import FORMATS, ChunkParser, LogFormat

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
DEADLINE_S = 20.0
POLL_INTERVAL_S = 0.05

CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/formats.conf;
    upstream behind {{ server 127.0.0.1:{dead_port}; server 127.0.0.1:{port}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "hello"; access_log off; }}
        location /down {{ proxy_pass http://127.0.0.1:{port}/; access_log {folder}/timed.log timed;
                          access_log {folder}/json.log json; access_log {folder}/raw.log raw; }}
        location /retry {{ proxy_pass http://behind/; access_log {folder}/timed.log timed; }}
    }}
}}
"""
FORMATS_CONF = r"""
log_format timed '$remote_addr:$remote_port - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                 '"$http_user_agent" rt=$request_time len=$request_length id=$request_id '
                 'ua="$upstream_addr" us="$upstream_status" ut="$upstream_response_time" '
                 'h=$host $pipe $connection/$connection_requests "$http_accept" gz=$gzip_ratio "$mine"';
map $request_method $mine { default "tab\there"; }
log_format json escape=json '{"time":"$time_iso8601","status":$status,"request":"$request","ua":"$http_user_agent",'
                            '"ref":"$http_referer","us":"$upstream_status","rt":$request_time}';
log_format raw escape=none '$msec|$status|$request_method|$request_uri|$server_protocol|"$http_user_agent"';
"""
AGENT = 'say "hi" \\ to café'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[int]:
    """The port of an nginx whose logs and configuration lie in the test's folder."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    (tmp_path / "formats.conf").write_text(FORMATS_CONF)
    conf = tmp_path / "nginx.conf"
    conf.write_text(CONFIGURATION.format(folder=tmp_path, port=port, dead_port=free_port()))
    process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        wait_until_answering(port, tmp_path / "error.log")
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def wait_until_answering(port: int, error_log: Path) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while True:
        try:
            request(port, "/")
        except OSError:
            assert time.monotonic() < give_up_at, error_log.read_text()
            time.sleep(POLL_INTERVAL_S)
        else:
            return


def request(port: int, target: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("GET", target, headers={"User-Agent": AGENT.encode()})
    connection.getresponse().read()
    connection.close()


def records_of(path: Path, line_count: int) -> list[Mapping[str, Any]]:
    """The records of a log, in the format that the configuration beside it says."""
    give_up_at = time.monotonic() + DEADLINE_S
    while path.read_bytes().count(b"\n") < line_count:
        assert time.monotonic() < give_up_at, path.read_bytes()
        time.sleep(POLL_INTERVAL_S)
    choice = load_choice(path.parent / "nginx.conf", FORMATS[LogFormat.AUTO], [str(path)])
    parser = ChunkParser(lambda name: choice.of_file(name).format, "web-1")
    data = path.read_bytes()
    parsed = parser.parse(Chunk(FileIdentity(str(path), 1, 2, "2-feed", 0, ""), 0, len(data), data))
    assert not parsed.rejects, parsed.rejects
    return [json.loads(value) for value in parsed.values]


def test_what_nginx_writes_comes_back_as_it_was(site: int, tmp_path: Path) -> None:
    """All three ways of escaping, upstreams that were tried in turn, and values that nginx does not have."""
    request(site, "/down?x=%C3%BC")
    for _attempt in range(2):  # one of them is sent to the dead server first
        request(site, "/retry")
    down, *retries = records_of(tmp_path / "timed.log", 3)
    assert (down["path"], down["query"], down["status"], down["user_agent"]) == ("/down", "x=%C3%BC", 200, AGENT)
    details = down["details"]
    assert details["upstream"]["statuses"] == [200]
    assert details["upstream"]["addresses"] == [f"127.0.0.1:{site}"]
    assert (details["host"], details["gzip_ratio"], details["connection"]["pipe"]) == ("127.0.0.1", None, ".")
    assert details["request_headers"] == {"accept": None}
    assert details["extra"] == {"mine": "tab\there"}
    assert details["request_time_s"] >= 0
    assert any(each["details"]["upstream"]["statuses"] == [502, 200] for each in retries)
    [shaped] = records_of(tmp_path / "json.log", 1)
    assert (shaped["user_agent"], shaped["referrer"], shaped["path"]) == (AGENT, None, "/down")
    [raw] = records_of(tmp_path / "raw.log", 1)
    assert (raw["method"], raw["path"], raw["query"], raw["user_agent"]) == ("GET", "/down", "x=%C3%BC", AGENT)
