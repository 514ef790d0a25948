"""The whole stack on a real engine: what it delivers, how it is confined, what it survives.

The tests share one stack and leave it as they found it, except the last, which stops it.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.compose.stack import Stack, run, wait_until

OURS = {"producer", "consumer", "archiver", "visitor"}
GRACE_S = 30.0
HANDLER = """\
async def handle(records):
    for record in records:
        print("mine", record.path, flush=True)
"""


def test_four_consumers_share_the_partitions_two_each(stack: Stack) -> None:
    """One group, and no partition has two readers; the archiver alone has them all."""
    stack.wait_until_balanced("consumer", [2, 2, 2, 2])
    stack.wait_until_balanced("archiver", [8])
    hosts = {one.host_name for one in stack.containers("consumer")}
    assert {client_id.removeprefix("consumer-") for client_id in stack.assignment("consumer")} == hosts


def test_each_group_receives_every_line_exactly_once(stack: Stack) -> None:
    """Fanout: equal numbers, nothing doubled while nothing fails."""
    stack.write_lines("fanout", 2_000)
    stack.wait_until_received("fanout", 2_000)
    assert set(stack.printed("consumer", "fanout").values()) == {1}
    assert set(stack.archived("fanout").values()) == {1}


def test_the_producer_tells_what_became_of_the_lines(stack: Stack) -> None:
    """What `make files` asks, in the container: the demo's lines are read and accounted for."""
    asked = ["python", "-m", "shared.runtime.probe", "http://127.0.0.1:8080/status?limit=1000"]
    document: dict[str, Any] = {}

    def confirmed() -> bool:
        document.update(json.loads(stack.compose("exec", "-T", "producer", *asked)))
        return bool(document["totals"]["lines"]["confirmed"])

    wait_until("lines in the ledger", confirmed)
    lines = document["totals"]["lines"]
    assert lines["read"] == sum(lines[name] for name in ("confirmed", "dead_lettered", "skipped", "in_flight"))
    assert any(file["path"].startswith("/var/log/") for file in document["files"])


def test_records_of_the_demo_site_arrive(stack: Stack) -> None:
    """From the visitor through a real nginx; the page is reachable from the host as well."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.nginx_port}/articles/1?from=host", timeout=10) as answer:
        assert answer.status == 200

    def arrived() -> bool:
        return '"from=host"' in stack.logs("--no-log-prefix", "consumer")

    wait_until("the request in a consumer's output", arrived)


def test_a_function_from_a_mounted_folder_gets_the_records(stack: Stack, tmp_path: Path) -> None:
    """A third group beside the two default ones, first with the example and then with the user's own code."""
    tmp_path.chmod(0o755)
    (tmp_path / "my_module.py").write_text(HANDLER)
    stack.compose("up", "--detach", "--no-build", "--no-deps", "example-handler")
    wait_until(
        "a failed request in the example's output",
        lambda: " 503 GET /api/busy" in stack.logs("--no-log-prefix", "example-handler"),
    )
    own = {"HANDLER": "my_module:handle", "HANDLER_DIR": str(tmp_path)}
    stack.compose("up", "--detach", "--no-build", "--no-deps", "example-handler", variables=own)
    stack.write_lines("handled", 50)
    wait_until(
        "each marked line in the output of the user's function",
        lambda: (
            {
                line.removeprefix("mine /handled/")
                for line in stack.logs("--no-log-prefix", "example-handler").splitlines()
                if line.startswith("mine /handled/")
            }
            == {str(number) for number in range(50)}
        ),
    )
    stack.compose("rm", "--stop", "--force", "example-handler")


def test_topics_ended_well_before_the_rest_began(stack: Stack) -> None:
    (topics,) = stack.containers("topics")
    assert (topics.running, topics.exit_code) == (False, 0)
    for one in stack.containers():
        if one.service in {"producer", "consumer", "archiver"}:
            assert one.details["State"]["StartedAt"] > topics.details["State"]["FinishedAt"]


def test_our_containers_are_confined(stack: Stack) -> None:
    """Asked of the engine, and of the kernel from inside."""
    for one in stack.containers():
        host = one.details["HostConfig"]
        assert host["CapDrop"] == ["ALL"], one.service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], one.service
        assert host["Memory"] > 0, one.service
        assert host["PidsLimit"] > 0, one.service
        assert host["Init"] is True, one.service
        assert not host["Privileged"], one.service
        if one.service not in OURS:
            continue
        assert host["ReadonlyRootfs"] is True, one.service
        assert one.details["Config"]["User"] == "10001:10001", one.service
        status = run(["docker", "exec", one.id, "cat", "/proc/1/status"], {})
        assert re.search(r"^Uid:\s+10001\s", status, re.MULTILINE), one.service
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), one.service
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), one.service


def test_ports_are_open_on_loopback_only(stack: Stack) -> None:
    published = {
        (one.service, binding["HostIp"], int(binding["HostPort"]))
        for one in stack.containers()
        for bindings in (one.details["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    assert published == {("kafka", "127.0.0.1", stack.kafka_port), ("nginx", "127.0.0.1", stack.nginx_port)}


def test_no_secret_is_in_an_environment_or_in_the_image(stack: Stack, image: str) -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY", re.IGNORECASE)
    no_file = re.compile(r"\w+_FILE=")  # a setting that could name a file with a secret, and names none
    for one in stack.containers():
        told = [entry for entry in one.details["Config"]["Env"] if not no_file.fullmatch(entry)]
        assert not [entry for entry in told if secret.search(entry)], one.service
    assert not secret.search(run(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image], {}))


def test_a_killed_consumer_is_replaced_by_the_others(stack: Stack) -> None:
    """SIGKILL of one of four under load: the rest take its partitions and nothing is lost."""
    victim = stack.containers("consumer")[0]
    stack.write_lines("before-kill", 500)
    run(["docker", "kill", victim.id], {})
    stack.write_lines("after-kill", 500)
    (dead,) = [one for one in stack.containers("consumer") if one.id == victim.id]
    assert (dead.running, dead.exit_code) == (False, 137)
    stack.wait_until_balanced("consumer", [3, 3, 2])
    stack.wait_until_received("before-kill", 500)
    stack.wait_until_received("after-kill", 500)
    run(["docker", "start", victim.id], {})
    stack.wait_until_balanced("consumer", [2, 2, 2, 2])


def test_a_killed_broker_comes_back_and_nothing_is_lost(stack: Stack) -> None:
    """SIGKILL of the broker: lines written before, during and after its absence reach both groups."""
    restarts = {one.id: one.details["RestartCount"] for one in stack.containers() if one.service in OURS}
    stack.write_lines("before-crash", 500)
    stack.compose("kill", "kafka")
    (broker,) = stack.containers("kafka")
    assert (broker.running, broker.exit_code) == (False, 137)
    stack.write_lines("during-crash", 500)
    stack.compose("start", "kafka")
    stack.wait_until_healthy({"kafka": 1})
    stack.write_lines("after-crash", 500)
    for marker in ("before-crash", "during-crash", "after-crash"):
        stack.wait_until_received(marker, 500)
    stack.wait_until_balanced("consumer", [2, 2, 2, 2])
    assert {one.id: one.details["RestartCount"] for one in stack.containers() if one.service in OURS} == restarts
    stack.wait_until_healthy({"producer": 1, "consumer": 4, "archiver": 1})


def test_a_later_up_keeps_the_choice_of_replicas(stack: Stack) -> None:
    """`docker compose up` again with the same number leaves every container alone."""
    before = {one.id: one.details["State"]["StartedAt"] for one in stack.containers() if one.service in OURS}
    stack.compose("up", "--detach", "--no-build", "--scale", "consumer=4")
    after = {one.id: one.details["State"]["StartedAt"] for one in stack.containers() if one.service in OURS}
    assert after == before


def test_stop_drains_within_the_grace_time(stack: Stack) -> None:
    """Every service of ours ends by itself with 0; none has to be killed; what was read is not lost."""
    stack.write_lines("last", 500)
    stack.wait_until_received("last", 500)
    started_at = time.monotonic()
    stack.compose("stop", "visitor", "producer", "consumer", "archiver")
    took_s = time.monotonic() - started_at
    codes = {(one.service, one.exit_code) for one in stack.containers() if one.service in OURS}
    assert codes == {(service, 0) for service in OURS}
    assert took_s < GRACE_S
    stack.compose("stop", "kafka", "nginx")
    assert not [one.service for one in stack.containers() if one.running]
