"""NGINX_LOG_DIR: the producer follows a folder of the host instead of the demo's volume, and only reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compose.stack import Stack, wait_until

ADM_GID = 4
LINE = '203.0.113.9 - - [05/Mar/2026:07:08:09 +0000] "GET /own/{} HTTP/1.1" 200 2 "-" "-"\n'


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file to the group adm, as Debian's packages do")
def test_own_logs_are_followed_and_left_alone(image: str, tmp_path: Path) -> None:
    """Files of root:adm with mode 0640, as on a Debian server; the demo is off and nothing is written there."""
    tmp_path.chmod(0o755)
    log = tmp_path / "shop.access.log"
    log.write_text("".join(LINE.format(number) for number in range(100)))
    os.chown(log, 0, ADM_GID)
    log.chmod(0o640)
    with Stack(image, {"NGINX_LOG_DIR": str(tmp_path), "DEMO_REPLICAS": "0", "CONSUMER_REPLICAS": "1"}) as stack:
        stack.compose("up", "--detach", "--no-build")
        stack.wait_until_healthy({"producer": 1, "consumer": 1, "archiver": 1})
        assert not stack.containers("nginx")
        assert not stack.containers("visitor")
        stack.wait_until_received("own", 100)
        with log.open("a") as appended:
            appended.write(LINE.format(100))
        stack.wait_until_received("own", 101)
        wait_until("each line once", lambda: set(stack.printed("consumer", "own").values()) == {1}, 1.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["shop.access.log"]
    assert log.read_text().count("\n") == 101
