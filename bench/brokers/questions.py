"""What is asked of every broker, in the order of the document. Knows no broker."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.brokers.behaviour import behaviour_of, publish_all
from bench.brokers.broker import Broker, Candidate, Order, Topology
from bench.brokers.job import Step
from bench.brokers.journal import Receipt, account, latencies_ms, longest_silence_ms, p50_p99
from bench.brokers.messages import message
from bench.brokers.play import Incident, Outcome, Play, perform
from bench.brokers.stage import Stage
from bench.brokers.sync_calls import count_sync_calls
from bench.child import memory_bytes
from bench.contender import Figure, Figures
from bench.errors import BenchmarkFailed

GROUP_COUNTS = (1, 2, 3, 4)
HANDLING_MS = 4.0
SETTLE_S = 1.0
FILL_TIMEOUT_S = 900.0

Ask = Callable[[Stage, Candidate], Mapping[str, Figures]]
"""Returns figures by variant. Raises BenchmarkFailed."""


@dataclass(frozen=True, slots=True)
class Question:
    """`parts` are asked one after the other, each of all candidates in turn, round by round."""

    key: str
    title: str
    explanation: str
    variant_heading: str
    figures: Sequence[Figure]
    parts: Sequence[Ask]
    repetitions: int = 1
    levels_apart: bool = True
    """Each durability level has a table and a chart of its own. Else only one mode of each system is asked."""
    of_mocks_too: bool = False
    at_once: bool = False
    """Candidates may be asked at the same time: nothing is timed."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. Durations are of the publishing alone."""

    rounds: int
    few_rounds: int
    throughput_s: float
    group_counts: Sequence[int]
    fanout_s: float
    rates_per_s: Sequence[int]
    rate_s: float
    worker_counts: Sequence[int]
    worker_s: float
    stored_count: int
    behaviour_count: int
    incident_s: float
    backlog_count: int


FULL = Sizes(5, 3, 3.0, GROUP_COUNTS, 1.5, (200, 500, 1000, 2000), 1.5, GROUP_COUNTS, 0.8, 2_000, 200, 6.0, 1_000_000)
QUICK = Sizes(1, 1, 1.0, (2,), 0.5, (500,), 1.0, (2,), 0.3, 500, 50, 3.0, 10_000)


def make_questions(*, quick: bool) -> list[Question]:
    """All of them."""
    sizes = QUICK if quick else FULL
    return [
        _throughput(sizes),
        _sync_calls(sizes),
        _latency(sizes),
        _fanout(sizes),
        _stored(sizes),
        _workers(sizes),
        _behaviour(sizes),
        _broker_killed(sizes),
        _worker_killed(sizes),
        _backlog(sizes),
    ]


RATE_FIGURES = (
    Figure("confirmed_per_s", "confirmed messages/s", 0, compared=True),
    Figure("delivered_per_s", "delivered messages/s", 0),
    Figure("broker_cpu_us", "broker CPU µs/message", 0, compared=True),
    Figure("client_cpu_us", "clients' CPU µs/message", 0),
    Figure("foreign_cores", "cores busy with other programs", 2),
)


def _throughput(sizes: Sizes) -> Question:
    return Question(
        "throughput",
        "How many messages a second, confirmed",
        f"One publisher with 200 messages in flight, one group of one worker, for {sizes.throughput_s:g} s. CPU "
        f"is that of "
        "the broker, and of both client programs together, until the worker has acknowledged the last message.",
        "",
        RATE_FIGURES,
        [partial(_rates, variant="", groups=1, duration_s=sizes.throughput_s)],
        sizes.rounds,
    )


def _fanout(sizes: Sizes) -> Question:
    return Question(
        "fanout",
        "What a second, third and fourth group cost",
        f"The same for {sizes.fanout_s:g} s with groups of one worker that each get everything; delivered is "
        f"the sum over "
        "the groups. More groups than cores share the machine's cores with the broker: the CPU figures carry "
        "over better.",
        "groups",
        RATE_FIGURES,
        [
            partial(_rates, variant=str(groups), groups=groups, duration_s=sizes.fanout_s)
            for groups in sizes.group_counts
        ],
        sizes.few_rounds,
        levels_apart=False,
    )


def _rates(stage: Stage, candidate: Candidate, variant: str, groups: int, duration_s: float) -> Mapping[str, Figures]:
    outcome = _perform(stage, candidate, Play([Step(0, duration_s)], groups=groups))
    count = len(outcome.confirmations)
    begin_ns = outcome.confirmations[0].due_ns
    confirmed_s = (max(one.confirmed_ns for one in outcome.confirmations) - begin_ns) / 1e9
    delivered = [receipt for group in outcome.receipts for worker in group for receipt in worker]
    delivered_s = (max(receipt.received_ns for receipt in delivered) - begin_ns) / 1e9
    figures = {
        "confirmed_per_s": count / confirmed_s,
        "delivered_per_s": len(delivered) / delivered_s,
        "broker_cpu_us": outcome.used["broker_cpu_s"] / count * 1e6,
        "client_cpu_us": outcome.used["cpu_s"] / count * 1e6,
        "foreign_cores": outcome.used["foreign_cores"],
    }
    return {variant: figures}


def _perform(stage: Stage, candidate: Candidate, play: Play) -> Outcome:
    """Raises BenchmarkFailed when something was lost though nothing had happened."""
    with stage.run_folder() as folder:
        outcome = perform(candidate, stage.brokers[candidate.name], play, folder)
    lost = [account(outcome.confirmations, group).lost for group in outcome.receipts]
    if any(lost) and play.incident is Incident.NONE:
        raise BenchmarkFailed(f"{candidate.name}: groups did not get {lost} of {len(outcome.confirmations)} messages")
    return outcome


def _sync_calls(sizes: Sizes) -> Question:
    return Question(
        "sync",
        "What a confirmation means",
        "Calls of fsync and its like that strace counts in the broker while messages are confirmed, 200 in "
        "flight: what "
        "decides about the durability level here. A broker may cover several waiting messages with one call. "
        "The tracing "
        "itself slows the broker down; no rate is taken from this run. Empty where there is no strace.",
        "",
        [Figure("syncs_per_1000", "syncs per 1,000 confirmed", 1)],
        [partial(_count_syncs, duration_s=sizes.fanout_s)],
    )


def _count_syncs(stage: Stage, candidate: Candidate, duration_s: float) -> Mapping[str, Figures]:
    with stage.run_folder() as folder, count_sync_calls(stage.brokers[candidate.name].pid, folder) as calls:
        outcome = _perform(stage, candidate, Play([Step(0, duration_s)]))
    if calls.count is None:
        return {"": {}}
    return {"": {"syncs_per_1000": calls.count / len(outcome.confirmations) * 1e3}}


def _latency(sizes: Sizes) -> Question:
    return Question(
        "latency",
        "How long a message is on its way",
        f"A ladder of fixed rates, {sizes.rate_s:g} s each, the same for all; from the moment at which a "
        f"message was due, so "
        "that a publisher that is held up counts as delay, to the worker that begins to handle it. Timers of "
        "the event loop "
        "add up to 1 ms. Where a rate is above what the broker confirms, messages queue up and the figures grow "
        "with time.",
        "messages/s",
        [
            Figure("p50_ms", "end to end p50 ms", 1),
            Figure("p99_ms", "end to end p99 ms", 1),
            Figure("confirmed_p50_ms", "confirmed p50 ms", 1),
            Figure("confirmed_p99_ms", "confirmed p99 ms", 1),
        ],
        [partial(_climb, rates_per_s=sizes.rates_per_s, rate_s=sizes.rate_s)],
        sizes.rounds,
    )


def _climb(stage: Stage, candidate: Candidate, rates_per_s: Sequence[int], rate_s: float) -> Mapping[str, Figures]:
    steps = [Step(rates_per_s[0], 0.5), *(Step(rate, rate_s) for rate in rates_per_s)]  # the first one warms up
    outcome = _perform(stage, candidate, Play(steps))
    [[receipts]] = outcome.receipts
    figures: dict[str, Figures] = {}
    begin = int(steps[0].rate_per_s * steps[0].duration_s)
    for step in steps[1:]:
        end = begin + int(step.rate_per_s * step.duration_s)
        chosen = range(begin, end)
        p50_ms, p99_ms = p50_p99(latencies_ms(one for one in receipts if one.number in chosen))
        confirmed = sorted(
            (one.confirmed_ns - one.due_ns) / 1e6 for one in outcome.confirmations if one.number in chosen
        )
        confirmed_p50_ms, confirmed_p99_ms = p50_p99(confirmed)
        figures[str(step.rate_per_s)] = {
            "p50_ms": p50_ms,
            "p99_ms": p99_ms,
            "confirmed_p50_ms": confirmed_p50_ms,
            "confirmed_p99_ms": confirmed_p99_ms,
        }
        begin = end
    return figures


def _stored(sizes: Sizes) -> Question:
    return Question(
        "stored",
        "How many copies lie on disk",
        f"{sizes.stored_count:,} messages of about 576 bytes are published while nobody reads: growth of the "
        f"data folder, in "
        "blocks. What a broker has not written yet is not seen.",
        "groups",
        [Figure("disk_bytes_per_message", "bytes on disk/message", 0)],
        [partial(_store, groups=groups, count=sizes.stored_count) for groups in sizes.group_counts],
        sizes.few_rounds,
        levels_apart=False,
    )


def _store(stage: Stage, candidate: Candidate, groups: int, count: int) -> Mapping[str, Figures]:
    broker = stage.brokers[candidate.name]
    client = candidate.make_client(broker.address)
    topology = Topology(f"stored-{uuid.uuid4().hex[:8]}")

    async def publish() -> int:
        await client.create(topology)
        for group in range(groups):
            await client.create_group(topology, f"group-{group}")
        before = broker.disk_bytes()
        await publish_all(client, topology, count)
        return before

    before = asyncio.run(publish())
    time.sleep(SETTLE_S)
    return {str(groups): {"disk_bytes_per_message": (broker.disk_bytes() - before) / count}}


def _workers(sizes: Sizes) -> Question:
    most = max(sizes.worker_counts)
    return Question(
        "workers",
        "What more workers in a group gain, and what becomes of order",
        f"1,000 messages/s for {sizes.worker_s:g} s to one group; each message keeps its worker busy for "
        f"{HANDLING_MS:g} ms, "
        "as a wait for another system would. Late is a message that is handled after one that was published "
        "later: of all "
        "messages, and of those with its key. Keyed and total are the broker's own means for order: Kafka "
        "partitions by "
        "key, and one partition; RabbitMQ a consistent-hash exchange, and a single active consumer; streams one "
        "per worker, "
        "and one; ActiveMQ JMSXGroupID, and an exclusive consumer.",
        "workers",
        [
            Figure("handled_per_s", "handled messages/s", 0),
            Figure("late_percent", "late %", 1),
            Figure("late_within_key_percent", "late within its key %", 1),
            Figure("smallest_share_percent", "smallest share of a worker %", 0),
        ],
        [
            partial(_share, workers=workers, order=order, duration_s=sizes.worker_s)
            for workers, order in [
                *((workers, Order.NONE) for workers in sizes.worker_counts),
                (most, Order.KEYED),
                (most, Order.TOTAL),
            ]
        ],
        sizes.few_rounds,
        levels_apart=False,
    )


def _share(stage: Stage, candidate: Candidate, workers: int, order: Order, duration_s: float) -> Mapping[str, Figures]:
    play = Play([Step(1_000, duration_s)], workers=workers, order=order, handling_ms=HANDLING_MS)
    outcome = _perform(stage, candidate, play)
    [group] = outcome.receipts
    count = len(outcome.confirmations)
    found = account(outcome.confirmations, group)
    begin_ns = min(one.due_ns for one in outcome.confirmations)
    end_ns = max(receipt.received_ns for receipt in _all(outcome))
    figures = {
        "handled_per_s": count / (end_ns - begin_ns) * 1e9,
        "late_percent": found.late / count * 100,
        "late_within_key_percent": found.late_within_key / count * 100,
        "smallest_share_percent": found.smallest_share * 100,
    }
    return {f"{workers}, {order.value}": figures}


def _all(outcome: Outcome) -> list[Receipt]:
    return [receipt for group in outcome.receipts for worker in group for receipt in worker]


def _behaviour(sizes: Sizes) -> Question:
    return Question(
        "behaviour",
        "What a late group sees, what can be replayed, what is redelivered",
        f"Of {sizes.behaviour_count} messages. A late group is made after they were published. A group that has read "
        "everything asks to read again. A worker takes some messages and leaves without acknowledging: do all "
        "of them come "
        "again? The mock of SNS and SQS answers too.",
        "",
        [
            Figure("each_of_two_groups", "seen by each of two groups", 0),
            Figure("smaller_share", "smaller share of two workers", 0),
            Figure("late_group", "seen by a late group", 0),
            Figure("replayed", "replayed", 0),
            Figure("taken", "taken and not acknowledged", 0),
            Figure("redelivered", "of these redelivered", 0),
        ],
        [partial(_behave, count=sizes.behaviour_count)],
        levels_apart=False,
        of_mocks_too=True,
        at_once=True,
    )


def _behave(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    client = candidate.make_client(stage.brokers[candidate.name].address)
    return {"": asdict(asyncio.run(behaviour_of(client, count)))}


def _broker_killed(sizes: Sizes) -> Question:
    return Question(
        "broker-killed",
        "What happens when the broker is killed",
        f"500 messages/s for {sizes.incident_s:g} s to one group of one worker; in the middle SIGKILL to the "
        f"broker, which is "
        "started again at once. The publisher repeats what was not confirmed. Away is the longest time without a "
        "confirmation, or without a message for the worker. SIGKILL leaves the page cache alone: a level that a "
        "power cut "
        "would tell apart from the other is not told apart here. Doubled messages were published twice, or "
        "acknowledged in vain.",
        "",
        [
            Figure("confirming_again_s", "away for the publisher s", 1),
            Figure("receiving_again_s", "away for the worker s", 1),
            Figure("lost", "lost", 0),
            Figure("doubled", "doubled", 0),
            Figure("published", "published", 0),
        ],
        [partial(_kill, incident=Incident.BROKER_KILLED, workers=1, duration_s=sizes.incident_s)],
        sizes.few_rounds,
    )


def _worker_killed(sizes: Sizes) -> Question:
    return Question(
        "worker-killed",
        "What happens when a worker is killed",
        "The same with two workers; one of them gets SIGKILL and is started again after 1 s, as an "
        "orchestrator would. The "
        "slowest message tells how long its part of the messages waited: for another worker to take over, or "
        "for the new one.",
        "",
        [
            Figure("slowest_s", "slowest message s", 1),
            Figure("lost", "lost", 0),
            Figure("doubled", "doubled", 0),
            Figure("published", "published", 0),
        ],
        [partial(_kill, incident=Incident.WORKER_KILLED, workers=2, duration_s=sizes.incident_s)],
        sizes.few_rounds,
        levels_apart=False,
    )


def _kill(
    stage: Stage, candidate: Candidate, incident: Incident, workers: int, duration_s: float
) -> Mapping[str, Figures]:
    play = Play([Step(500, duration_s)], workers=workers, incident=incident)
    outcome = _perform(stage, candidate, play)
    found = account(outcome.confirmations, outcome.receipts[0])
    received = _all(outcome)
    figures = {
        "confirming_again_s": longest_silence_ms(one.confirmed_ns for one in outcome.confirmations) / 1e3,
        "receiving_again_s": longest_silence_ms(one.received_ns for one in received) / 1e3,
        "slowest_s": latencies_ms(received)[-1] / 1e3,
        "lost": found.lost,
        "doubled": found.doubled,
        "published": len(outcome.confirmations),
    }
    return {"": figures}


def _backlog(sizes: Sizes) -> Question:
    return Question(
        "backlog",
        "What a backlog costs",
        f"A broker that was just started gets {sizes.backlog_count:,} messages for one group that does not "
        f"read, as fast as "
        "its client can without waiting for each. Java heaps are limited to 512 MB; RabbitMQ has no such limit.",
        "",
        [
            Figure("rss_before_mb", "RSS MB empty", 0),
            Figure("rss_mb", "RSS MB with the backlog", 0),
            Figure("peak_rss_mb", "peak RSS MB", 0),
            Figure("disk_bytes_per_message", "bytes on disk/message", 0),
            Figure("filled_s", "filled in s", 0),
        ],
        [partial(_fill, count=sizes.backlog_count)],
        levels_apart=False,
    )


def _fill(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    with stage.fresh_broker(candidate) as broker:
        before = memory_bytes("VmRSS", broker.pid)
        started_at = time.monotonic()
        asyncio.run(_fill_group(candidate, broker, count))
        filled_s = time.monotonic() - started_at
        time.sleep(SETTLE_S)
        figures = {
            "rss_before_mb": before / 1e6,
            "rss_mb": memory_bytes("VmRSS", broker.pid) / 1e6,
            "peak_rss_mb": memory_bytes("VmHWM", broker.pid) / 1e6,
            "disk_bytes_per_message": broker.disk_bytes() / count,
            "filled_s": filled_s,
        }
    return {"": figures}


async def _fill_group(candidate: Candidate, broker: Broker, count: int) -> None:
    client = candidate.make_client(broker.address)
    topology = Topology(f"backlog-{uuid.uuid4().hex[:8]}")
    await client.create(topology)
    await client.create_group(topology, "group-0")
    async with asyncio.timeout(FILL_TIMEOUT_S):
        await client.fill(topology, "group-0", (message(number, 0) for number in range(count)))
