"""Faults between producer and broker. The producer speaks to the broker through a proxy; the watcher does not."""

from __future__ import annotations

import subprocess
import time

from compose.local.broker import answers
from tests.chaos.files import Load
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import Scenario
from tests.chaos.scene import NotRun
from tests.chaos.stage import Stage

LINES_PER_S = 5_000
ONE_WAY_S = 0.05
FIREWALL_TIMEOUT_S = 10.0


def latency_of_100_ms(stage: Stage) -> None:
    """50 ms each way, from before the producer starts until the lines of 10 s are delivered."""
    proxy = _through_proxy(stage)
    log = stage.log()
    log.write(1_000)
    with Load(log, LINES_PER_S):
        stage.start()
        stage.until_arrived(500)
        with stage.fault():
            proxy.delay_s = ONE_WAY_S
            began_s = time.monotonic()
            assert answers(proxy.port)
            took_ms = (time.monotonic() - began_s) * 1_000
            stage.require(took_ms >= 2_000 * ONE_WAY_S, f"a question and its answer took {took_ms:.0f} ms")
            stage.until_arrived(stage.repetitions(10, 2) * LINES_PER_S)
            proxy.delay_s = 0.0
        stage.until_written(1_000)


def lost_acknowledgements(stage: Stage) -> None:
    """Requests pass, answers are lost for longer than the time-outs: the broker has what the producer cannot know."""
    proxy = _through_proxy(stage)
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            rounds = stage.repetitions(3, 1)
            for round_number in range(1, rounds + 1):
                proxy.lost_bytes = 0
                seen = stage.watcher.seen_count
                proxy.loses_answers = True
                stage.until(lambda: proxy.lost_bytes > 0, "an answer that is lost")
                stage.until_event(producer, "broker_unavailable", round_number)
                stage.require(stage.watcher.seen_count > seen, "the broker took lines whose confirmation was lost")
                proxy.heal()
                stage.until_event(producer, "broker_connected", round_number + 1)
                stage.until_arrived(500)
            stage.observe(f"answers were lost {rounds} times, until the producer gave its client up")
        stage.until_written(1_000)


def killed_with_acknowledgements_lost(stage: Stage) -> None:
    """The same, and then SIGKILL: only the topic knows what was taken."""
    proxy = _through_proxy(stage)
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            seen = stage.watcher.seen_count
            proxy.loses_answers = True
            stage.until(lambda: stage.watcher.seen_count > seen, "lines that the broker took")
            stage.until(lambda: proxy.lost_bytes > 0, "an answer that is lost")
            stage.until_written(500)
            stage.kill(producer)
            stage.observe(f"{proxy.lost_bytes} bytes of answers were lost before the kill")
            proxy.heal()
            stage.start()
            stage.until_arrived(500)
        stage.until_written(1_000)


def requests_that_outlive_their_sender(stage: Stage) -> None:
    """What a producer sent is held up on its way; it is killed, its successor works, and then the requests arrive."""
    proxy = stage.kafka.proxy
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start(KAFKA_BOOTSTRAP_SERVERS=stage.kafka.proxied_servers)
        stage.until_arrived(500)
        with stage.fault():
            rounds = stage.repetitions(3, 1)
            for _round in range(rounds):
                proxy.held_bytes, proxy.holds_requests = 0, True
                stage.until_written(LINES_PER_S // 2)
                stage.until(lambda: proxy.held_bytes > 0, "requests that are held")
                stage.kill(producer)
                successor = stage.start()
                stage.until_arrived(LINES_PER_S)
                proxy.holds_requests = False
                stage.until_written(LINES_PER_S // 2)
                stage.kill(successor)
                producer = stage.start(KAFKA_BOOTSTRAP_SERVERS=stage.kafka.proxied_servers)
                stage.until_arrived(500)
            stage.observe(f"{rounds} times the requests of a dead producer reached the broker after its successor's")
        stage.until_written(1_000)


def blackholed_connection(stage: Stage) -> None:
    """Packets in both directions are dropped, not refused: nothing tells either end. For 8 s."""
    proxy = _through_proxy(stage)
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            _firewall("-I", "--dport", proxy.port)
            stage.undo.callback(_firewall, "-D", "--dport", proxy.port, required=False)
            _firewall("-I", "--sport", proxy.port)
            stage.undo.callback(_firewall, "-D", "--sport", proxy.port, required=False)
            stage.until_event(producer, "broker_unavailable")
            seen = stage.watcher.seen_count
            dark_until_s = time.monotonic() + 8.0
            stage.until(lambda: time.monotonic() > dark_until_s, "the end of the darkness")
            stage.require(not answers(proxy.port), "a connection attempt got no answer")
            stage.require(stage.watcher.seen_count == seen, "no line passed for 8 s")
            for end in ("--dport", "--sport"):
                _firewall("-D", end, proxy.port)
        stage.until_arrived(500)
        stage.until_written(1_000)


def _firewall(action: str, end: str, port: int, *, required: bool = True) -> None:
    command = ["iptables", "-w", action, "OUTPUT", "-o", "lo", "-p", "tcp", end, str(port), "-j", "DROP"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FIREWALL_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise NotRun("there is no iptables here to drop packets with") from None
    if required and done.returncode != 0:
        raise NotRun(f"packets cannot be dropped here: {done.stderr.strip()}")


def _through_proxy(stage: Stage) -> Proxy:
    stage.settings["KAFKA_BOOTSTRAP_SERVERS"] = stage.kafka.proxied_servers
    return stage.kafka.proxy


SCENARIOS = (
    Scenario("100 ms latency", latency_of_100_ms),
    Scenario("lost acknowledgements", lost_acknowledgements),
    Scenario("lost acknowledgements", killed_with_acknowledgements_lost),
    Scenario("requests that outlive their sender", requests_that_outlive_their_sender),
    Scenario("blackholed connection (dropped, not refused)", blackholed_connection),
)
