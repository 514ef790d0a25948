"""Faults of the broker and of the topics."""

from __future__ import annotations

import time

from tests.chaos.files import Load
from tests.chaos.journal import Expected
from tests.chaos.lines import mark
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

LINES_PER_S = 5_000
LOWERED_LIMIT_BYTES = 20_000


def broker_sigkill_five_times(stage: Stage) -> None:
    """The producer stays and goes on by itself each time."""
    with Load(stage.log(), LINES_PER_S):
        stage.start()
        stage.until_arrived(500)
        with stage.fault():
            kills = stage.repetitions(5, 2)
            for _kill in range(kills):
                pid = stage.kafka.node.pid
                stage.kafka.node.kill()
                stage.until_written(int(LINES_PER_S * stage.random.uniform(0.2, 1.0)))
                stage.kafka.heal()
                stage.require(stage.kafka.node.pid != pid, "each time the broker came back as another process")
                stage.until_arrived(500)
            stage.observe(f"the broker was killed {kills} times by SIGKILL")
        stage.until_written(1_000)


def broker_hangs(stage: Stage) -> None:
    """SIGSTOP for longer than any time-out of the producer: connections stay open and nobody answers."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            stage.kafka.node.pause()
            stage.until_event(producer, "broker_unavailable")
            stage.observe("the producer noticed that nobody answers")
            stage.until_written(2 * LINES_PER_S)
            stage.kafka.node.resume()
        stage.until_arrived(500)
        stage.until_written(1_000)


def broker_hangs_and_dies(stage: Stage) -> None:
    """SIGSTOP, and SIGKILL without waking up: what lay in its buffers is lost with it."""
    with Load(stage.log(), LINES_PER_S):
        stage.start()
        stage.until_arrived(500)
        with stage.fault():
            rounds = stage.repetitions(3, 2)
            for _round in range(rounds):
                pid = stage.kafka.node.pid
                stage.kafka.node.pause()
                stage.until_written(LINES_PER_S // 2)
                stage.kafka.node.kill()
                stage.kafka.heal()
                stage.require(stage.kafka.node.pid != pid, "each time the broker came back as another process")
                stage.until_arrived(500)
            stage.observe(f"the broker was stopped and then killed {rounds} times")
        stage.until_written(1_000)


def broker_absent_at_start(stage: Stage) -> None:
    """For 20 s, many times the producer's time-outs here."""
    stage.kafka.node.kill()
    with Load(stage.log(), LINES_PER_S):
        stage.until_written(1_000)
        with stage.fault():
            producer = stage.start()
            stage.until_event(producer, "broker_unavailable")
            _pass(stage, 20.0)
            stage.require(producer.process.poll() is None, "the producer waited without a broker for 20 s")
            stage.require(len(producer.events("broker_unavailable")) == 1, "it said so once")
            stage.kafka.heal()
        stage.until_arrived(500)
        stage.until_written(1_000)


def broker_down_for_long(stage: Stage) -> None:
    """Mid-run, for 12 s: four times DELIVERY_TIMEOUT_MS, six times KAFKA_REQUEST_TIMEOUT_MS."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            stage.kafka.node.kill()
            stage.until_event(producer, "broker_unavailable")
            stage.observe("the producer said that no broker answers")
            _pass(stage, 12.0)
            stage.require(producer.process.poll() is None, "it waited for 12 s")
            stage.kafka.heal()
        stage.until_arrived(500)
        stage.until_written(1_000)


def topic_missing_at_start(stage: Stage) -> None:
    """Both topics are made 5 s after the producer has started."""
    stage.kafka.remove_topic(stage.topics.records, stage.topics.dead_letters, stage.topics.state)
    with Load(stage.log(), LINES_PER_S):
        stage.until_written(1_000)
        with stage.fault():
            producer = stage.start()
            stage.until_event(producer, "broker_unavailable")
            _pass(stage, 5.0)
            told = str(producer.events("broker_unavailable")[0]["error"])
            stage.require(producer.process.poll() is None, f"the producer waited: {told}")
            stage.kafka.make_topics(stage.topics)
            stage.watcher.begin_anew()
        stage.until_arrived(500)
        stage.until_written(1_000)


def topic_deleted_and_made_anew(stage: Stage) -> None:
    """What was in the topic is gone with it, by the deed of whoever deleted it; everything else arrives."""
    log = stage.log()
    log.write(2_000)
    stage.start()
    stage.until_drained()
    with stage.fault():
        gone = stage.watcher.seen()
        stage.excuse_lost(gone, "deleted with the topic")
        stage.excuse_doubled(gone, "deleted with the topic")
        stage.kafka.remove_topic(stage.topics.records)
        log.write(2_000)
        _pass(stage, 2.0)
        stage.require(stage.watcher.seen_count == len(gone), "nothing could be delivered meanwhile")
        stage.kafka.make_topic(stage.topics.records)
        stage.watcher.begin_anew()
        stage.until_drained()
    log.write(2_000)


def partitions_added_live(stage: Stage) -> None:
    """From 8 to 12 under load, and a kill afterwards: the new incarnation knows 12."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            stage.kafka.add_partitions(stage.topics.records, 12)
            stage.until(lambda: len(stage.kafka.leaders(stage.topics.records)) == 12, "12 partitions")
            stage.observe("the topic has 12 partitions")
            stage.until_arrived(LINES_PER_S)
            stage.kill(producer)
            stage.start()
            stage.until_arrived(LINES_PER_S)
        stage.until_written(1_000)


def record_over_the_brokers_limit(stage: Stage) -> None:
    """The limit of both topics is lowered while the producer runs: what it took for fitting is refused."""
    log = stage.log()
    log.write(500)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        for topic in (stage.topics.records, stage.topics.dead_letters):
            stage.kafka.configure_topic(topic, "max.message.bytes", str(LOWERED_LIMIT_BYTES))
        for _line in range(3):
            log.write(200)
            # Random bytes in hexadecimal: compression halves them at most.
            padding = stage.random.randbytes(2 * LOWERED_LIMIT_BYTES).hex().encode()
            place = mark(stage.run, len(stage.journal))
            raw = b'10.0.0.9 - - [17/May/2015:10:05:03 +0000] "GET %b?%b HTTP/1.1" 200 1 "-" "-"' % (place, padding)
            log.write_odd(raw, Expected.EITHER)
        stage.until_drained()
        noticed = len(producer.events("broker_unavailable"))
        stage.require(noticed > 0, f"the broker refused a batch; the client was replaced {noticed} times")
    log.write(500)


def _pass(stage: Stage, seconds: float) -> None:
    """Let this much of the fault's time go by."""
    over_at_s = time.monotonic() + seconds
    stage.until(lambda: time.monotonic() > over_at_s, f"{seconds:g} s of the fault", seconds + 5)


SCENARIOS = (
    Scenario("broker SIGKILL and restart, 5 times", broker_sigkill_five_times, limit_s=300.0),
    Scenario("broker SIGSTOP", broker_hangs),
    Scenario("broker SIGSTOP", broker_hangs_and_dies),
    Scenario("broker absent at start", broker_absent_at_start),
    Scenario("broker down for far longer than the request time-out", broker_down_for_long),
    Scenario("topic missing at start", topic_missing_at_start),
    Scenario("topic deleted", topic_deleted_and_made_anew, before=0),
    Scenario("partitions added live", partitions_added_live),
    Scenario("a record over the broker's limit but under the client's", record_over_the_brokers_limit),
)
