"""What is asked of every broker, in the order of the document. Knows no broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.brokers.asking import (
    FEW_KEYS,
    HANDLING_MS,
    RATE_DURING_INCIDENT_PER_S,
    WARM_UP_COUNT,
    WARM_UP_LIMIT_S,
    behave,
    climb,
    count_syncs,
    kill_broker,
    kill_worker,
    rates,
    share,
    warm_up,
)
from bench.brokers.broker import Candidate, Order
from bench.brokers.consuming import SLOW_AMONG
from bench.brokers.fresh import FILL_S, SETTLE_S, fill, operate, store
from bench.brokers.job import Step
from bench.brokers.play import AWAY_S, QUIET_S
from bench.brokers.stage import Stage
from bench.contender import Figure, Figures

FEWEST_OF_A_RATE = 400
"""So that a p99 is not the slowest message."""

Ask = Callable[[Stage, Candidate], Mapping[str, Figures]]
"""Returns figures by variant. Raises BenchmarkFailed, or NotHere when the machine lacks what it needs."""


@dataclass(frozen=True, slots=True)
class Question:
    """`parts` are asked one after the other, each of all candidates in turn, round by round."""

    key: str
    title: str
    explanation: str
    figures: Sequence[Figure]
    parts: Sequence[Ask]
    repetitions: int
    variant_heading: str = ""
    levels_apart: bool = True
    """Each durability level has a table and a chart of its own. Else only one mode of each system is asked."""
    one_of_a_house: bool = False
    """One candidate by the first word of its system is asked: for a quick comparison."""
    of_mocks_too: bool = False
    at_once: bool = False
    """Candidates are asked at the same time, with other such questions: nothing is timed that counts."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. Durations are of the publishing alone."""

    rounds: int
    few_rounds: int
    fewest_rounds: int
    throughput_s: float
    group_counts: Sequence[int]
    fanout_s: float
    rates_per_s: Sequence[int]
    rate_s: float
    worker_counts: Sequence[int]
    orders: Sequence[Order]
    worker_s: float
    stored_count: int
    behaviour_count: int
    incident_s: float
    backlog_count: int
    hasty: bool = False
    """Incidents at the same time for all: their durations mean little."""


FULL = Sizes(
    rounds=5,
    few_rounds=3,
    fewest_rounds=2,
    throughput_s=1.5,
    group_counts=(1, 2, 3, 4),
    fanout_s=1.0,
    rates_per_s=(200, 1_000, 2_000),
    rate_s=0.8,
    worker_counts=(1, 2, 3, 4),
    orders=(Order.KEYED, Order.TOTAL),
    worker_s=0.5,
    stored_count=2_000,
    behaviour_count=200,
    incident_s=3.0,
    backlog_count=1_000_000,
)
QUICK = Sizes(
    rounds=1,
    few_rounds=1,
    fewest_rounds=1,
    throughput_s=0.6,
    group_counts=(2,),
    fanout_s=0.5,
    rates_per_s=(500,),
    rate_s=0.6,
    worker_counts=(2,),
    orders=(Order.KEYED,),
    worker_s=0.4,
    stored_count=500,
    behaviour_count=50,
    incident_s=2.0,
    backlog_count=10_000,
    hasty=True,
)
TOO_LONG_FOR_QUICK = ("sync", "fanout", "stored", "worker-killed", "backlog", "operating")


def make_questions(*, quick: bool) -> list[Question]:
    """All of them; a quick comparison leaves some out."""
    makers = (
        _throughput,
        _sync_calls,
        _latency,
        _fanout,
        _stored,
        _workers,
        _behaviour,
        _broker_killed,
        _worker_killed,
        _backlog,
        _operating,
    )
    questions = [make(QUICK if quick else FULL) for make in makers]
    return [question for question in questions if not (quick and question.key in TOO_LONG_FOR_QUICK)]


def make_warm_up() -> Question:
    """Before all of them, of the brokers that are asked for rates."""
    return replace(_throughput(FULL), title="warm-up", parts=[warm_up])


_RATE_FIGURES = (
    Figure("confirmed_per_s", "confirmed messages/s", 0, compared=True),
    Figure("delivered_per_s", "delivered messages/s", 0),
    Figure("broker_cpu_us", "broker CPU µs/message", 0, compared=True),
    Figure("client_cpu_us", "clients' CPU µs/message", 0),
    Figure("foreign_cores", "cores busy with other programs", 2),
)
_THROUGHPUT = """\
One publisher with 200 messages in flight, one group of one worker, for {seconds:g} s{warm}. CPU is that of the broker,
and of all client programs together, from the first message until the last one has arrived at the worker; the
acknowledgement of the last batch and what a broker does afterwards are not in it."""
_WARM = f", after a warm-up of {WARM_UP_COUNT:,} messages or {WARM_UP_LIMIT_S:g} s"
_SYNC = """\
Calls of fsync and its like that strace counts in the broker from the first message until the last one is confirmed, 200
in flight, less what it calls in a window of the same length with nothing to do: they decide about the durability level
of a broker here, not its documentation. One call may cover several messages that wait; acknowledgements of the worker
may add some. The tracing slows the broker down, so no rate is taken from this run."""
_LATENCY = """\
A ladder of fixed rates, the same for all, each for {seconds:g} s and at least {fewest} messages; from the moment at
which a message was due, so that a publisher that is held up counts as delay, to the worker that begins to handle it.
Timers of the event loop add up to 1 ms. Where a rate is above what a broker confirms, messages queue up, and the
figures grow with time and into the next rate."""
_FANOUT = """\
As above for {seconds:g} s, with groups of one worker that each get everything; delivered is the sum over the groups.
Groups share the machine's cores with the broker: the CPU figures carry over better than the rates."""
_STORED = """\
{count:,} messages of about 576 bytes are published to a broker that was just started while nobody reads: growth of the
data folder, in blocks, {settle:g} s after the last confirmation. All brokers at the same time: nothing is timed.
Durability hardly matters: one mode of each system."""
_WORKERS = """\
1,000 messages/s of {keys} keys for {seconds:g} s to one group; each keeps its worker busy as a wait for another system
would, for {handling_ms:g} ms on average: one of {slow_among}, by chance, for {slow_ms:g} ms. Late is a message that is
handled after one that was published later: of all messages, and of those with its key. Keyed and total are each
broker's own means for order; plain is the control. The waiting decides, not durability: one mode of each system."""
_BEHAVIOUR = """\
Of {count} messages. A late group is made after they were published. A group that has read everything asks to read
again. A worker takes some messages and leaves without acknowledging: do all of them come again? For order, as many are
published one after the other, and then read by two workers that take no time for them: late is what comes after a
later one. Mocks answer too. Nothing is timed."""
_BROKER_KILLED = """\
{rate} messages/s for {seconds:g} s to one group of one worker, with a broker that holds nothing else and was started
again in order since its topology was made; in the middle SIGKILL, and it is started again at once. Answers again is the
broker alone: until its port accepts. Confirming again is the first confirmation after that, as the publisher sees it,
who repeats what was not confirmed. SIGKILL leaves the page cache alone: it does not show what a power cut would cost.
Doubled messages were stored twice, or acknowledged in vain. Lost is what does not come to a worker that is started anew
after {quiet:g} s of silence, either.{hasty}"""
_WORKER_KILLED = """\
{rate} messages/s for {seconds:g} s to two workers of one group; in the middle one of them gets SIGKILL and is started
again after {away:g} s, as an orchestrator would. The slowest message tells how long its part of the messages waited:
for another worker to take over, or for the new one. Durability plays no part: one mode of each system."""
_BACKLOG = """\
A broker that was just started gets {count:,} messages for one group that does not read, or as many as its client sends
in {seconds:g} s without waiting for each. Memory is that of the broker's main process {settle:g} s later. One mode of
each system."""
_OPERATING = """\
A start without data until its ports accept, what runs then with its resident memory, and what its program and the
runtime below that take on disk. One mode of each system."""
_HASTY = " All at the same time in this quick run: the seconds mean little."


def _throughput(sizes: Sizes) -> Question:
    return Question(
        "throughput",
        "How many messages a second, confirmed",
        _THROUGHPUT.format(seconds=sizes.throughput_s, warm="" if sizes.hasty else _WARM),
        _RATE_FIGURES,
        [partial(rates, variant="", groups=1, duration_s=sizes.throughput_s)],
        sizes.rounds,
    )


def _sync_calls(sizes: Sizes) -> Question:
    return Question(
        "sync",
        "What a confirmation means",
        _SYNC,
        [Figure("syncs_per_1000", "syncs per 1,000 confirmed", 1)],
        [partial(count_syncs, duration_s=sizes.fanout_s)],
        1,
    )


def _latency(sizes: Sizes) -> Question:
    return Question(
        "latency",
        "How long a message is on its way",
        _LATENCY.format(seconds=sizes.rate_s, fewest=FEWEST_OF_A_RATE),
        [
            Figure("p50_ms", "end to end p50 ms", 1),
            Figure("p99_ms", "end to end p99 ms", 1),
            Figure("confirmed_p50_ms", "confirmed p50 ms", 1),
            Figure("confirmed_p99_ms", "confirmed p99 ms", 1),
        ],
        [partial(climb, steps=[Step(rate, max(sizes.rate_s, FEWEST_OF_A_RATE / rate)) for rate in sizes.rates_per_s])],
        sizes.rounds,
        variant_heading="messages/s",
    )


def _fanout(sizes: Sizes) -> Question:
    return Question(
        "fanout",
        "What more groups cost",
        _FANOUT.format(seconds=sizes.fanout_s),
        _RATE_FIGURES,
        [
            partial(rates, variant=str(groups), groups=groups, duration_s=sizes.fanout_s)
            for groups in sizes.group_counts
        ],
        sizes.fewest_rounds,
        variant_heading="groups",
    )


def _stored(sizes: Sizes) -> Question:
    return Question(
        "stored",
        "How many copies lie on disk",
        _STORED.format(count=sizes.stored_count, settle=SETTLE_S),
        [Figure("disk_bytes_per_message", "bytes on disk/message", 0)],
        [partial(store, group_counts=sizes.group_counts, count=sizes.stored_count)],
        sizes.fewest_rounds,
        variant_heading="groups",
        levels_apart=False,
        at_once=True,
    )


def _workers(sizes: Sizes) -> Question:
    most = max(sizes.worker_counts)
    plain = [(workers, Order.NONE) for workers in sizes.worker_counts]
    return Question(
        "workers",
        "What more workers in a group gain, and what becomes of order",
        _WORKERS.format(
            keys=FEW_KEYS,
            seconds=sizes.worker_s,
            handling_ms=HANDLING_MS,
            slow_among=SLOW_AMONG,
            slow_ms=HANDLING_MS * 0.5 * (1 + SLOW_AMONG),
        ),
        [
            Figure("handled_per_s", "handled messages/s", 0),
            Figure("late_percent", "late %", 1),
            Figure("late_within_key_percent", "late within its key %", 1),
            Figure("smallest_share_percent", "smallest share of a worker %", 0),
        ],
        [
            partial(share, workers=workers, order=order, duration_s=sizes.worker_s)
            for workers, order in [*plain, *((most, order) for order in sizes.orders)]
        ],
        sizes.few_rounds,
        variant_heading="workers",
        levels_apart=False,
    )


def _behaviour(sizes: Sizes) -> Question:
    return Question(
        "behaviour",
        "What a late group sees, what can be replayed, what is redelivered",
        _BEHAVIOUR.format(count=sizes.behaviour_count),
        [
            Figure("each_of_two_groups", "seen by each of two groups", 0),
            Figure("smaller_share", "smaller share of two workers", 0),
            Figure("late_group", "seen by a late group", 0),
            Figure("replayed", "replayed", 0),
            Figure("taken", "taken and not acknowledged", 0),
            Figure("redelivered", "of these redelivered", 0),
            Figure("late_plain", "late, two workers", 0),
            Figure("late_ordered", "late, two workers and total order", 0),
        ],
        [partial(behave, count=sizes.behaviour_count)],
        1,
        levels_apart=False,
        of_mocks_too=True,
        at_once=True,
    )


_ACCOUNT_FIGURES = (
    Figure("lost", "lost", 0),
    Figure("doubled", "doubled", 0),
    Figure("published", "published", 0),
)


def _broker_killed(sizes: Sizes) -> Question:
    return Question(
        "broker-killed",
        "What happens when the broker is killed",
        _BROKER_KILLED.format(
            rate=RATE_DURING_INCIDENT_PER_S,
            seconds=sizes.incident_s,
            quiet=QUIET_S,
            hasty=_HASTY if sizes.hasty else "",
        ),
        [
            Figure("answers_again_s", "answers again after s", 1),
            Figure("confirming_again_s", "confirming again after s", 1),
            Figure("silent_s", "longest silence for the worker s", 1),
            *_ACCOUNT_FIGURES,
        ],
        [partial(kill_broker, duration_s=sizes.incident_s)],
        sizes.fewest_rounds,
        one_of_a_house=sizes.hasty,
        at_once=sizes.hasty,
    )


def _worker_killed(sizes: Sizes) -> Question:
    return Question(
        "worker-killed",
        "What happens when a worker is killed",
        _WORKER_KILLED.format(rate=RATE_DURING_INCIDENT_PER_S, seconds=sizes.incident_s, away=AWAY_S),
        [Figure("slowest_s", "slowest message s", 2), *_ACCOUNT_FIGURES],
        [partial(kill_worker, duration_s=sizes.incident_s)],
        sizes.fewest_rounds,
        levels_apart=False,
    )


def _backlog(sizes: Sizes) -> Question:
    return Question(
        "backlog",
        "What a backlog costs",
        _BACKLOG.format(count=sizes.backlog_count, seconds=FILL_S, settle=SETTLE_S),
        [
            Figure("held", "messages held", 0),
            Figure("rss_before_mb", "RSS MB empty", 0),
            Figure("rss_mb", "RSS MB with the backlog", 0),
            Figure("peak_rss_mb", "peak RSS MB", 0),
            Figure("disk_bytes_per_message", "bytes on disk/message", 0),
        ],
        [partial(fill, count=sizes.backlog_count)],
        1,
        levels_apart=False,
    )


def _operating(sizes: Sizes) -> Question:
    return Question(
        "operating",
        "What one must operate",
        _OPERATING,
        [
            Figure("start_s", "started in s", 1),
            Figure("processes", "processes", 0),
            Figure("rss_mb", "RSS MB of all, empty", 0),
            Figure("installed_mb", "MB installed", 0),
        ],
        [operate],
        sizes.fewest_rounds,
        levels_apart=False,
    )
