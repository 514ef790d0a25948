"""Faults of the producer's process: killed, stopped, paused, doubled, moved."""

from __future__ import annotations

import shutil
import signal
import time

import psutil

from tests.chaos.auditor import Mode
from tests.chaos.files import Load
from tests.chaos.scenario import Scenario
from tests.chaos.scene import NotRun
from tests.chaos.stage import Stage, answer_of

LINES_PER_S = 5_000
PEERS_LINES = 20_000
PEERS_PATIENCE_S = 8.0


def sigkill_at_random_moments(stage: Stage) -> None:
    """20 kills in the middle of the work, each between 0 and 0.6 s after the first new line of its incarnation."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            kills = stage.repetitions(20, 3)
            for _kill in range(kills):
                moment_s = time.monotonic() + stage.random.uniform(0.0, 0.6)
                stage.until(lambda: time.monotonic() > moment_s, "the moment of the kill")  # noqa: B023
                stage.kill(producer)
                producer = stage.start()
                stage.until_arrived(1)
            stage.observe(f"{kills} incarnations were killed")
        stage.until_written(1_000)


def sigkill_while_the_broker_hangs(stage: Stage) -> None:
    """What a dead producer sent is still in the broker's buffers when its successor starts: the case for a fence."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            rounds = stage.repetitions(6, 3)
            for _round in range(rounds):
                stage.kafka.node.pause()
                stage.until_written(int(LINES_PER_S * stage.random.uniform(0.1, 0.5)))
                stage.kill(producer)
                producer = stage.start()
                stage.until_written(int(LINES_PER_S * stage.random.uniform(0.3, 1.0)))
                state = psutil.Process(stage.kafka.node.pid).status()
                stage.require(state == psutil.STATUS_STOPPED, "the broker was stopped from before the kill until after")
                stage.kafka.node.resume()
                stage.until_arrived(1)
            stage.observe(f"{rounds} producers were killed while the broker was stopped by SIGSTOP")
        stage.until_written(1_000)


def sigterm_with_a_backlog(stage: Stage) -> None:
    """SIGTERM while hundreds of thousands of lines are unread: exit 0 in time, the next start goes on."""
    log = stage.log()
    log.write(1_000)
    producer = stage.start()
    stage.until_arrived(1_000)
    with stage.fault():
        for _write in range(20):
            log.write(10_000)
        stage.until_arrived(1)
        stage.stop(producer)
        left = producer.events("producer_stopped")[-1]
        stage.require(left["unread_bytes"] + left["unconfirmed_bytes"] > 0, "a backlog was left at SIGTERM")
        stage.start()
    log.write(1_000)


def sigterm_while_the_broker_is_unreachable(stage: Stage) -> None:
    """Where others deliver 0 of 20,000: no broker from the start, SIGTERM after 8 s, restart with the broker up."""
    log = stage.log()
    stage.kafka.node.kill()
    with stage.fault():
        log.write(PEERS_LINES)
        producer = stage.start()
        stopped_at_s = time.monotonic() + (2.0 if stage.plan.short else PEERS_PATIENCE_S)
        stage.until_event(producer, "broker_unavailable")
        stage.until(lambda: time.monotonic() > stopped_at_s, "the moment of SIGTERM")
        stage.stop(producer)
        stage.require(stage.watcher.seen_count == 0, "no line was in the topic when the producer had ended with 0")
        stage.kafka.heal()
        stage.start()
    stage.until_drained()
    stage.observe(f"{stage.watcher.seen_count:,} of {PEERS_LINES:,} lines afterwards")
    log.write(1_000)


def sigterm_while_the_broker_is_down(stage: Stage) -> None:
    """The same in mid-run, with lines read and unconfirmed."""
    log = stage.log()
    log.write(1_000)
    producer = stage.start()
    stage.until_drained()
    with stage.fault():
        pid = stage.kafka.node.pid
        stage.kafka.node.kill()
        log.write(PEERS_LINES - 1_000)
        stage.until(lambda: _in_flight_bytes(producer.events("progress")) > 0, "lines in flight")
        stage.observe(f"{_in_flight_bytes(producer.events('progress')):,} bytes were read and unconfirmed")
        stage.stop(producer)
        stage.kafka.heal()
        stage.require(stage.kafka.node.pid != pid, "the broker is another process")
        stage.start()
    log.write(1_000)


def _in_flight_bytes(events: list[dict[str, int]]) -> int:
    return events[-1]["in_flight_bytes"] if events else 0


def two_producers_on_one_checkpoint(stage: Stage) -> None:
    """The second one says whose the checkpoint is, and ends; the first goes on."""
    with Load(stage.log(), LINES_PER_S):
        first = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            second = stage.start()
            code = stage.until_ended(second)
            answer = answer_of(second)
            stage.require(code != 0 and "CHECKPOINT_FILE" in answer, f"the second ended with {code}: {_short(answer)}")
            stage.require(first.process.poll() is None, "the first goes on")
            stage.until_arrived(500)
        stage.until_written(1_000)


def two_producers_of_one_identity(stage: Stage) -> None:
    """Same files, same SOURCE_HOST, two checkpoints: the second says who is there and waits; the first goes on."""
    _only_exactly_once(stage, "two producers of one identity both send everything")
    with Load(stage.log(), LINES_PER_S):
        first = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            second = stage.start(CHECKPOINT_FILE=str(stage.folder / "state-2" / "checkpoint.json"))
            stage.until_event(second, "standing_by")
            stage.observe(f"the second says: {_short(str(second.events('standing_by')[0]['error']))}")
            stage.until_arrived(2 * LINES_PER_S)
            stage.require(first.process.poll() is None, "the first goes on")
            stage.require(not first.events("standing_by"), "and was not disturbed")
            stage.kill(first)
            stage.until_event(second, "broker_connected")
            stage.observe("when the first was killed, the second took over")
            stage.until_arrived(500)
        stage.until_written(1_000)


def zombie(stage: Stage) -> None:
    """SIGSTOP, a successor elsewhere takes over, SIGCONT: nothing that the first then writes counts, and it ends."""
    _only_exactly_once(stage, "a zombie goes on sending")
    with Load(stage.log(), LINES_PER_S):
        first = stage.start()
        stage.until_arrived(500)
        with stage.fault():
            first.process.send_signal(signal.SIGSTOP)
            stage.until_written(2 * LINES_PER_S)
            successor = stage.start(CHECKPOINT_FILE=str(stage.folder / "state-2" / "checkpoint.json"))
            stage.until_arrived(LINES_PER_S)
            stage.require(first.process.poll() is None, "the first lived while the successor took over")
            first.process.send_signal(signal.SIGCONT)
            code = stage.until_ended(first)
            stage.require(code != 0, f"the first ended with {code}: {_short(answer_of(first))}")
            stage.require(successor.process.poll() is None, "the successor goes on")
        stage.until_written(1_000)


def checkpoint_lost(stage: Stage) -> None:
    """SIGKILL, and the folder of the checkpoint is gone."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(3_000)
        with stage.fault():
            stage.until(stage.checkpoint.exists, "a checkpoint")
            stage.kill(producer)
            shutil.rmtree(stage.checkpoint.parent)
            stage.require(not stage.checkpoint.exists(), "the checkpoint is gone")
            stage.start()
            stage.until_arrived(3_000)
        stage.until_written(1_000)


def checkpoint_moved_to_another_host(stage: Stage) -> None:
    """A copy of the checkpoint, thousands of lines old, is what the same files are followed with elsewhere."""
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(1_000)
        with stage.fault():
            stage.until(stage.checkpoint.exists, "a checkpoint")
            elsewhere = stage.folder / "other-host" / "checkpoint.json"
            elsewhere.parent.mkdir()
            shutil.copyfile(stage.checkpoint, elsewhere)
            stage.until_arrived(4_000)
            stage.until(lambda: elsewhere.read_bytes() != stage.checkpoint.read_bytes(), "a newer checkpoint")
            stage.kill(producer)
            stage.observe("the copy was thousands of lines behind")
            stage.start(CHECKPOINT_FILE=str(elsewhere))
            stage.until_arrived(3_000)
        stage.until_written(1_000)


def clock_jumps_by_an_hour(stage: Stage) -> None:
    """The wall clock of the process goes an hour back, then two forward, with a kill in either time."""
    clock = stage.folder / "clock-offset-s"
    clock.write_text("0")
    program = ("tests.chaos.mutants", "clock_from_a_file")
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start(program=program, CHAOS_CLOCK_FILE=str(clock))
        stage.until_arrived(500)
        with stage.fault():
            for offset_s in (-3_600, 3_600):
                clock.write_text(str(offset_s))
                stage.until_arrived(LINES_PER_S)
                stage.kill(producer)
                producer = stage.start(program=program, CHAOS_CLOCK_FILE=str(clock))
                stage.until_arrived(500)
            spread_s = (stage.watcher.newest_ms - stage.watcher.oldest_ms) / 1_000
            stage.require(spread_s > 7_000, f"the records' timestamps lie {spread_s:,.0f} s apart")
            clock.write_text("0")
        stage.until_written(1_000)


def a_million_lines_with_three_kills(stage: Stage) -> None:
    """At 40,000 lines/s. The audit of them has to take less time than the run."""
    with Load(stage.log(), 40_000):
        producer = stage.start()
        stage.until_arrived(10_000)
        with stage.fault():
            for kill in range(1, 4):
                stage.until(lambda: len(stage.journal) >= kill * 250_000, "a quarter of a million lines written")  # noqa: B023
                stage.kill(producer)
                producer = stage.start()
                stage.until_arrived(1)
            stage.observe("3 incarnations were killed, a quarter of a million lines apart")
        stage.until(lambda: len(stage.journal) >= 1_000_000, "a million lines written", 120.0)


def _only_exactly_once(stage: Stage, otherwise: str) -> None:
    if stage.plan.mode is not Mode.EXACTLY_ONCE:
        raise NotRun(f"nothing is promised of it with DELIVERY=at-least-once: {otherwise}")


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


SCENARIOS = (
    Scenario("SIGKILL at random moments, 20 times", sigkill_at_random_moments),
    Scenario("SIGKILL while the broker hangs", sigkill_while_the_broker_hangs),
    Scenario("SIGTERM with a backlog", sigterm_with_a_backlog),
    Scenario(
        "SIGTERM while the broker is away",
        sigterm_while_the_broker_is_unreachable,
        before=0,
    ),
    Scenario("SIGTERM while the broker is away", sigterm_while_the_broker_is_down),
    Scenario("two producers on one checkpoint", two_producers_on_one_checkpoint),
    Scenario("two producers of one identity", two_producers_of_one_identity),
    Scenario("a paused producer that comes back (zombie)", zombie),
    Scenario("lost", checkpoint_lost),
    Scenario("moved to another host", checkpoint_moved_to_another_host),
    Scenario("clock ±1 h", clock_jumps_by_an_hour),
    Scenario("1 M lines, 3 kills", a_million_lines_with_three_kills, limit_s=300.0),
)
