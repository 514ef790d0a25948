"""The faults of the consumer, each as one function over a stage, and the sinks that it is played with."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from tests.chaos.consumers.numbered import path_of
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.consumers.sinks import Alarms, Postgres
from tests.chaos.consumers.stage import ConsumerStage, partitions_kept
from tests.chaos.kafka import PARTITION_COUNT
from tests.chaos.scene import Failed
from tests.integration.commit_cutter import Cut
from tests.integration.consumer_driver import Replica

EVERY_SINK = ("handler", "archive", "postgres", "kafka")
OUTAGES = ("handler", "archive", "postgres")
# Records behind a fault of the alarms: some windows that are closed, too.
MORE_ALARMS = 3_000
# What stands still is looked at for 30 s before it counts as stuck.
STUCK_WITHIN_S = 45.0


def replicas_killed_at_random_moments(stage: ConsumerStage) -> None:
    """Each takes a session timeout until its partitions are read again. With batches at hand: they take a while."""
    stage.slow_down(0.05)
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(6, 2)):
            stage.until_committed(stage.random.randrange(100, 2_000))
            stage.kill(stage.random.choice(stage.running()))
            stage.start(1)
            stage.until_shared(2)
    stage.until_committed(1_000)


def rolling_restart(stage: ConsumerStage) -> None:
    """One replica after the other ends on SIGTERM and is started anew."""
    stage.start(3)
    stage.until_shared(3)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(2, 1)):
            for replica in stage.running():
                stage.stop(replica)
                stage.start(1)
                stage.until_shared(3)
                stage.observe("every replica ended with 0 on SIGTERM, and another took its place")
    stage.until_committed(1_000)


def frozen_and_back(stage: ConsumerStage) -> None:
    """A replica is stopped for longer than its session, and goes on after another has its share.

    It commits rarely, so that it wakes with records that it has taken and not committed.
    """
    [first] = stage.start(1, COMMIT_INTERVAL_MS="3000")
    [second] = stage.start(1)
    stage.until_shared(2)
    stage.until_committed(1_000)
    stage.until(lambda: stage.watcher.quiet_s(first.owns or ()) > 1.0, "it to hold what is not committed")
    given = len(first.events("partitions_assigned"))
    with stage.fault():
        first.process.send_signal(signal.SIGSTOP)
        stage.until(lambda: second.owns == frozenset(range(PARTITION_COUNT)), "the other to get all partitions")
        _until_taken_over(stage, second)
        first.process.send_signal(signal.SIGCONT)
        stage.until(lambda: len(first.events("partitions_assigned")) > given, "the frozen one to join again")
        stage.observe("the other replica had all partitions before the frozen one went on")
        refused = len(first.events("ownership_lost")) + len(first.events("drain_incomplete"))
        stage.observe(f"the frozen one told {refused} times that what it held was refused")
        stage.until_shared(2)
    stage.until_committed(1_000)


def _until_taken_over(stage: ConsumerStage, second: Replica) -> None:
    """The other goes on. In the archive one that was stopped in a write holds it up, and it has to say so."""
    wanted = stage.committed_total + 1_000

    def held_up() -> bool:
        return stage.sink.name == "archive" and bool(second.events("sink_unavailable"))

    stage.until(lambda: stage.committed_total >= wanted or held_up(), "the other to go on")
    if held_up():
        _require_told(stage, second, "sink_unavailable", "is locked by another process")


def scaled_under_load(stage: ConsumerStage) -> None:
    """1 → 4 → 2 → 4 replicas, with batches at hand."""
    stage.slow_down(0.05)
    stage.start(1)
    stage.until_shared(1)
    stage.until_committed(1_000)
    stayed_s: list[float] = []
    moved_s: list[float] = []
    with stage.fault():
        for count in (4, 2, 4):
            began_s, before = time.monotonic(), stage.owners()
            _scale(stage, count)
            stage.until_shared(count)
            stage.until_committed(1_500)
            kept = partitions_kept(before, stage.owners())
            for partition in range(PARTITION_COUNT):
                pause_s = stage.watcher.longest_pause_s(partition, began_s, time.monotonic())
                (stayed_s if partition in kept else moved_s).append(pause_s)
    stage.until_committed(1_000)
    stage.require(
        bool(stayed_s and moved_s), f"{len(stayed_s)} times a partition stayed, {len(moved_s)} times it moved"
    )
    stage.paused_s = max(stayed_s), max(moved_s)


def replicas_come_and_go(stage: ConsumerStage) -> None:
    """One more or one less every few seconds, between 1 and 8."""
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(12, 3)):
            count = len(stage.running())
            more = stage.random.choice((-1, 1)) if 1 < count < PARTITION_COUNT else 1 if count == 1 else -1
            _scale(stage, count + more)
            stage.observe(f"{count + more} replicas")
            _let_pass(stage, 5.0)
            stage.until_committed(500)
    stage.until_committed(1_000)


def slow_sink(stage: ConsumerStage) -> None:
    """One batch takes longer than the session: heartbeats go on, nobody loses its partitions."""
    replicas = stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    assigned_before = [len(replica.events("partitions_assigned")) for replica in replicas]
    slow = stage.sink_folder / "slow"
    with stage.fault():
        slow.write_text("8")
        _let_pass(stage, stage.repetitions(40, 20))
        slow.unlink()
    stage.require(
        [len(replica.events("partitions_assigned")) for replica in replicas] == assigned_before,
        "batches took 8 s with a session of 6 s, and the group did not move a partition",
    )
    stage.until_committed(1_000)


def sink_away(stage: ConsumerStage) -> None:
    """It is gone for a while: nothing is set aside, nothing given up, no replica ends."""
    replicas = stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        stage.observe(stage.sink.go())
        for replica in replicas:
            stage.until(lambda replica=replica: bool(replica.events("sink_unavailable")), "the outage to be told")  # type: ignore[misc]
            stage.until(lambda replica=replica: replica.ask("/readyz") == 503, "the replica not to be ready")  # type: ignore[misc]
        stage.observe("both replicas said sink_unavailable and were not ready")
        _let_pass(stage, 10.0)
        stage.sink.come_back()
        for replica in replicas:
            stage.until(lambda replica=replica: replica.ready, "the replica to be ready again")  # type: ignore[misc]
    stage.until_committed(1_000)
    if letters := stage.dead_lettered_places():
        raise Failed(f"{len(letters)} records were set aside although the sink was only away")


def commits_cut(stage: ConsumerStage) -> None:
    """The connection ends in the middle of COMMIT: the database never gets it, or has done it and nobody hears."""
    sink = stage.sink
    assert isinstance(sink, Postgres)
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(15, 4)):
            sink.cutter.cuts += stage.random.sample([Cut.BEFORE, Cut.AFTER], 2)
            stage.until(lambda: not sink.cutter.cuts, "the next COMMITs")
            stage.until_committed(stage.random.randrange(1, 800))
    before, after = sink.cutter.done.count(Cut.BEFORE), sink.cutter.done.count(Cut.AFTER)
    stage.require(min(before, after) > 0, f"{before} COMMITs never arrived, {after} were carried out and not heard of")
    stage.until_committed(1_000)


def connections_cut(stage: ConsumerStage) -> None:
    """Answers of the database are lost, and then its connections end, at random moments."""
    sink = stage.sink
    assert isinstance(sink, Postgres)
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(40, 10)):
            sink.proxy.loses_answers = stage.random.random() < 0.7
            _let_pass(stage, stage.random.uniform(0.05, 0.4))
            sink.proxy.heal()
            _let_pass(stage, stage.random.uniform(0.05, 0.4))
        stage.require(sink.proxy.lost_bytes > 0, f"{sink.proxy.lost_bytes} bytes of answers were lost")
    stage.until_committed(1_000)


def cut_off_from_the_broker(stage: ConsumerStage) -> None:
    """Nothing passes between one replica and the broker for longer than its session; its sink it can reach.

    What it had sent comes to the broker late, when the partitions are another's.
    """
    proxy = stage.kafka.proxy
    [cut_off] = stage.start(1, KAFKA_BOOTSTRAP_SERVERS=stage.kafka.proxied_servers)
    [other] = stage.start(1)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        proxy.holds_requests = proxy.loses_answers = True
        stage.until(lambda: other.owns == frozenset(range(PARTITION_COUNT)), "the other to get all partitions")
        stage.until(lambda: cut_off.ask("/readyz") == 503, "the one that is cut off not to be ready")
        stage.until_committed(1_000)
        proxy.heal()
        stage.until_shared(2)
        stage.until(lambda: cut_off.ready, "the one that was cut off to be ready again")
        stage.require(
            proxy.held_bytes > 0 and cut_off.process.poll() is None,
            "the other replica had all partitions; the one that was cut off was not ready, and joined again",
        )
    stage.until_committed(1_000)


def client_gone_deaf(stage: ConsumerStage) -> None:
    """The client of one replica fetches no more; its heartbeats go on, so the group leaves it its partitions."""
    deaf, _other = stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        (stage.sink_folder / f"deaf-{deaf.process.pid}").touch()
        stage.until((stage.sink_folder / "deafened").exists, "the fetching to end")
        stage.until(lambda: deaf.ask("/readyz") == 503, "the deaf one not to be ready", STUCK_WITHIN_S)
        _require_told(stage, deaf, "broker_unavailable", "stands still")
        stage.until(lambda: deaf.ready, "the deaf one to be ready again")
        stage.until_shared(2)
    stage.require(deaf.process.poll() is None, "a new membership took its place in the same process")
    stage.until_committed(1_000)


def sink_that_never_returns(stage: ConsumerStage) -> None:
    """One replica's sink hangs in the middle of a batch: it is not ready, ends itself, and is started anew."""
    stage.settings["MAX_POLL_INTERVAL_MS"] = "36000"
    hung, _other = stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        (stage.sink_folder / f"hangs-{hung.process.pid}").touch()
        stage.until(lambda: hung.ask("/readyz") == 503, "the replica not to be ready", STUCK_WITHIN_S)
        _require_told(stage, hung, "sink_unavailable", "at one call for more than")
        stage.until_ended(hung, 1)
        _require_told(stage, hung, "service_failed", "counts as stuck")
        stage.start(1)
        stage.until_shared(2)
    stage.until_committed(1_000)


def webhook_away(stage: ConsumerStage) -> None:
    """It refuses connections, answers 500, and never answers, one after the other; records are counted on."""
    _play_webhook(stage, kills=0)


def webhook_away_and_killed(stage: ConsumerStage) -> None:
    """The same, and the replica is killed at random moments of it."""
    _play_webhook(stage, kills=stage.repetitions(3, 1))


def restarted_while_alarms_are_told(stage: ConsumerStage) -> None:
    """SIGTERM while alarms wait and one is on its way; the webhook takes its time."""
    sink = stage.sink
    assert isinstance(sink, Alarms)
    sink.answer("slow")
    stage.start(1)
    stage.until_shared(1)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(10, 4)):
            _until_told_more(stage, sink)
            stage.stop(*stage.running())
            stage.start(1)
            stage.until_shared(1)
        stage.observe(f"{len(stage.replicas) - 1} times the replica ended with 0 on SIGTERM while an alarm was told")
    sink.answer("works")
    stage.until_published(MORE_ALARMS)


def _play_webhook(stage: ConsumerStage, kills: int) -> None:
    sink = stage.sink
    assert isinstance(sink, Alarms)
    stage.start(1)
    stage.until_shared(1)
    stage.until_committed(1_000)
    with stage.fault():
        stage.observe(sink.go())
        _count_on(stage, kills, 3.0)
        sink.come_back()
        _until_told_more(stage, sink)
        for mode, said, seconds in (("fails", "500", 3.0), ("hangs", "nothing", 11.0)):
            before = sink.turned_away(mode)
            sink.answer(mode)
            _count_on(stage, kills, seconds)
            tries = sink.turned_away(mode) - before
            stage.require(tries > 0, f"{tries} times it answered {said}")
            sink.answer("works")
            _until_told_more(stage, sink)
    stage.until_published(MORE_ALARMS)


def _count_on(stage: ConsumerStage, kills: int, seconds: float) -> None:
    """So long, and with as many kills at random moments; records go on being counted."""
    for _ in range(kills):
        stage.until_committed(stage.random.randrange(100, 2_000))
        stage.kill(stage.running()[0])
        stage.start(1)
        stage.until_shared(1)
    _let_pass(stage, seconds)
    stage.until_committed(500)


def _until_told_more(stage: ConsumerStage, sink: Alarms) -> None:
    """An attempt that comes after a pause which has grown with the failures."""
    told = sum(1 for _one in sink.read())
    stage.until(lambda: sum(1 for _one in sink.read()) > told, "an alarm to be told")


def _require_told(stage: ConsumerStage, replica: Replica, event: str, words: str) -> None:
    """It says so in its log."""
    found = [str(one["error"]) for one in replica.events(event) if words in str(one["error"])]
    if not found:
        raise Failed(f"{event} was not told with {words!r}")
    stage.observe(f"{event}: {found[-1]}")


def poison_in_the_topic(stage: ConsumerStage) -> None:
    """Values that are no records: first, last, alone, in rows, in every partition."""
    poison = {0, 1, *stage.random.sample(range(2, 6_000), 30), *range(3_000, 3_040)}
    stage.publisher.value_at.update(
        {number: stage.random.choice((b"", b"\xff\x00", b"{}", b'{"schema_version":1', None)) for number in poison}
    )
    stage.start(2)
    stage.until_committed(500)
    with stage.fault():
        stage.until(lambda: stage.publisher.count > 6_200, "all poison to be published")
        stage.until_committed(1_000)
    stage.until_committed(1_000)
    _require_set_aside(stage, poison, "no record")


def records_the_sink_fails_at(stage: ConsumerStage) -> None:
    """Single records at which the sink fails for ever are found, set aside, and hold nobody up for long."""
    stage.settings["SINK_MAX_ATTEMPTS"] = "3"
    poison = set(stage.random.sample(range(4_000, 9_000), 12))
    (stage.sink_folder / "poison").write_text("\n".join(path_of(stage.run, number) for number in poison))
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(2_000)
    with stage.fault():
        stage.until(lambda: stage.publisher.count > 9_100, "all of them to be published")
        stage.until(lambda: len(stage.dead_lettered_places()) >= len(poison), "all of them to be set aside")
    stage.until_committed(1_000)
    _require_set_aside(stage, poison, "the sink fails at it")


def broker_killed_under_the_group(stage: ConsumerStage) -> None:
    """SIGKILL and restart of the broker."""
    stage.start(2)
    stage.until_shared(2)
    stage.until_committed(1_000)
    with stage.fault():
        for _ in range(stage.repetitions(3, 1)):
            stage.kafka.node.kill()
            stage.observe("the broker was killed")
            stage.kafka.node.start()
            stage.kafka.node.wait_until_ready()
            stage.until_published(200)
            stage.until_committed(500)
    stage.until_committed(1_000)


def retention_overtakes(stage: ConsumerStage) -> None:
    """The group is away while the topic deletes what it has not read: the loss is told, to the record."""
    [replica] = stage.start(1)
    stage.until_committed(1_000)
    stage.stop(replica)
    committed = stage.committed_now()
    before = stage.publisher.count
    stage.until(lambda: stage.publisher.count > before + 3_000, "more records to be published")
    with stage.fault():
        kept_from = {partition: offset + 200 for partition, offset in committed.items()}
        stage.kafka.delete_before(stage.topics.records, kept_from)
        stage.until(lambda: stage.publisher.count > before + 4_000, "more records to be published")
        [late] = stage.start(1)
        stage.until(lambda: len(late.events("offsets_missing")) >= len(kept_from), "the loss to be told")
    told = {event["partition"]: event["count"] for event in late.events("offsets_missing")}
    if told != {partition: kept_from[partition] - committed[partition] for partition in kept_from}:
        raise Failed(f"told {told}; deleted {kept_from}, committed {committed}")
    stage.observe(f"{sum(told.values())} deleted records were told, to the offset")
    stage.excuse_lost(
        (
            number
            for number, (partition, offset) in list(stage.publisher.places.items())
            if committed[partition] <= offset < kept_from[partition]
        ),
        "deleted by retention",
    )
    stage.until_committed(1_000)


def _scale(stage: ConsumerStage, count: int) -> None:
    """All that go get SIGTERM at once, as `docker compose --scale` does it."""
    running = stage.running()
    stage.stop(*running[count:])
    stage.start(max(0, count - len(running)))


def _let_pass(stage: ConsumerStage, seconds: float) -> None:
    """The fault lasts for a while; that is what is waited for here."""
    until_s = time.monotonic() + seconds
    stage.until(lambda: time.monotonic() > until_s, "time to pass", seconds + 5)


def _require_set_aside(stage: ConsumerStage, numbers: set[int], reason: str) -> None:
    """They stand in the dead-letter topic, and nothing else does."""
    wanted = {stage.publisher.places[number] for number in numbers}
    stage.until(lambda: len(stage.dead_lettered_places()) >= len(wanted), "the dead letters")
    found = stage.dead_lettered_places()
    if found != wanted:
        raise Failed(f"set aside: {len(found - wanted)} that are not to be, {len(wanted - found)} are missing")
    stage.observe(f"{len(wanted)} records stand in the dead-letter topic, and no other")
    stage.excuse_lost(numbers, f"dead letter: {reason}")


def _each(
    fault: str, play: Callable[[ConsumerStage], None], sinks: Sequence[str], *, violent: bool = True
) -> list[ConsumerScenario]:
    return [ConsumerScenario(fault, play, sink, violent) for sink in sinks]


SCENARIOS: Sequence[ConsumerScenario] = (
    *_each("replica SIGKILL at random moments", replicas_killed_at_random_moments, EVERY_SINK),
    *_each("SIGTERM, rolling restart", rolling_restart, EVERY_SINK, violent=False),
    *_each("SIGSTOP past the session, then SIGCONT (zombie)", frozen_and_back, EVERY_SINK),
    *_each("scaled 1 → 4 → 2 → 4 under load", scaled_under_load, EVERY_SINK, violent=False),
    *_each("one replica more or less every 5 s", replicas_come_and_go, EVERY_SINK, violent=False),
    *_each("broker SIGKILL and restart under the group", broker_killed_under_the_group, EVERY_SINK),
    *_each("values that are no records, at every place", poison_in_the_topic, EVERY_SINK, violent=False),
    *_each("retention overtakes a group that is away", retention_overtakes, EVERY_SINK, violent=False),
    *_each("a sink slower than the session", slow_sink, ("handler",), violent=False),
    *_each("the sink is away: an error, a full disk, a database killed and restarted", sink_away, OUTAGES),
    *_each("connections to the database cut at random moments", connections_cut, ("postgres",)),
    *_each("the connection cut in the middle of COMMIT", commits_cut, ("postgres",)),
    *_each("one replica cut off from the broker, and back", cut_off_from_the_broker, EVERY_SINK),
    *_each("a client that is alive and stuck", client_gone_deaf, ("handler",)),
    *_each("a sink that never returns", sink_that_never_returns, ("handler",)),
    *_each("the webhook refuses, fails and hangs", webhook_away, ("alerts",), violent=False),
    *_each("the webhook refuses, fails and hangs while the process is killed", webhook_away_and_killed, ("alerts",)),
    *_each("SIGTERM while alarms are told", restarted_while_alarms_are_told, ("alerts",), violent=False),
    *_each("records that the sink fails at", records_the_sink_fails_at, ("handler",), violent=False),
)
