"""How each question is answered: plays against one broker, and the figures that follow from what was noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict

from bench.brokers.behaviour import ASKING_TIMEOUT_S, behaviour_of
from bench.brokers.bounded import run_bounded
from bench.brokers.broker import Candidate, Order
from bench.brokers.job import Step
from bench.brokers.journal import Receipt, account, first_after, latencies_ms, longest_silence_ms, p50_p99
from bench.brokers.play import Incident, Outcome, Play, perform, prepare
from bench.brokers.stage import Stage
from bench.brokers.sync_calls import SyncCalls, beyond_background, count_sync_calls
from bench.contender import Figures
from bench.errors import BenchmarkFailed

HANDLING_MS = 4.0
FEW_KEYS = 37
"""Prime, so that no turn among workers falls in with the turn of the keys; each comes back after a few milliseconds."""
FIRST_STEP_S = 0.5
"""At the lowest rate, before the ladder is looked at."""
WARM_UP_COUNT = 40_000
WARM_UP_STEP_S = 5.0
WARM_UP_LIMIT_S = 20.0
RATE_DURING_INCIDENT_PER_S = 500


def warm_up(stage: Stage, candidate: Candidate) -> Mapping[str, Figures]:
    """Until virtual machines have compiled what they will be asked for; answers nothing."""
    play, count = Play([Step(0, WARM_UP_STEP_S)]), 0
    give_up_at = time.monotonic() + WARM_UP_LIMIT_S
    while count < WARM_UP_COUNT and time.monotonic() < give_up_at:
        count += len(_perform(stage, candidate, play).confirmations)
    return {}


def rates(stage: Stage, candidate: Candidate, variant: str, groups: int, duration_s: float) -> Mapping[str, Figures]:
    """Confirmed and delivered a second, and CPU per message."""
    outcome = _perform(stage, candidate, Play([Step(0, duration_s)], groups=groups))
    count = len(outcome.confirmations)
    begin_ns = min(one.due_ns for one in outcome.confirmations)
    confirmed_s = (max(one.confirmed_ns for one in outcome.confirmations) - begin_ns) / 1e9
    delivered = _all(outcome)
    delivered_s = (max(receipt.received_ns for receipt in delivered) - begin_ns) / 1e9
    figures = {
        "confirmed_per_s": count / confirmed_s,
        "delivered_per_s": len(delivered) / delivered_s,
        "broker_cpu_us": outcome.used["broker_cpu_s"] / count * 1e6,
        "client_cpu_us": outcome.used["cpu_s"] / count * 1e6,
        "foreign_cores": outcome.used["foreign_cores"],
    }
    return {variant: figures}


def _perform(
    stage: Stage,
    candidate: Candidate,
    play: Play,
    watching: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Outcome:
    """Against the broker that runs all the time. Raises BenchmarkFailed when something was lost without a reason."""
    broker = stage.brokers[candidate.name]
    with stage.run_folder() as folder:
        outcome = perform(candidate, broker, prepare(candidate, broker, play), play, folder, watching)
    lost = [account(outcome.confirmations, group).lost for group in outcome.receipts]
    if any(lost) and play.incident is Incident.NONE:
        raise BenchmarkFailed(f"{candidate.name}: groups did not get {lost} of {len(outcome.confirmations)} messages")
    return outcome


def _all(outcome: Outcome) -> list[Receipt]:
    return [receipt for group in outcome.receipts for worker in group for receipt in worker]


def count_syncs(stage: Stage, candidate: Candidate, duration_s: float) -> Mapping[str, Figures]:
    """While messages are confirmed as fast as they go, beyond those that it makes with nothing to do."""
    broker = stage.brokers[candidate.name]
    windows: list[SyncCalls] = []

    with stage.run_folder() as folder:

        @contextmanager
        def watching() -> Iterator[None]:
            with count_sync_calls(broker.pid, folder / "idle") as idle:
                time.sleep(duration_s)
            with count_sync_calls(broker.pid, folder / "busy") as busy:
                yield
            windows.extend((busy, idle))

        outcome = _perform(stage, candidate, Play([Step(0, duration_s)]), watching)
    [busy, idle] = windows
    return {"": {"syncs_per_1000": beyond_background(busy, idle) / len(outcome.confirmations) * 1e3}}


def climb(stage: Stage, candidate: Candidate, steps: Sequence[Step]) -> Mapping[str, Figures]:
    """Latencies by rate, of one publisher that goes up the ladder."""
    steps = [Step(steps[0].rate_per_s, FIRST_STEP_S), *steps]
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


def share(stage: Stage, candidate: Candidate, workers: int, order: Order, duration_s: float) -> Mapping[str, Figures]:
    """What a group of workers handles, and in which order."""
    play = Play([Step(1_000, duration_s)], workers=workers, order=order, handling_ms=HANDLING_MS, key_count=FEW_KEYS)
    outcome = _perform(stage, candidate, play)
    [group] = outcome.receipts
    count = len(outcome.confirmations)
    found = account(outcome.confirmations, group, play.key_count)
    begin_ns = min(one.due_ns for one in outcome.confirmations)
    end_ns = max(receipt.received_ns for receipt in _all(outcome))
    figures = {
        "handled_per_s": count / (end_ns - begin_ns) * 1e9,
        "late_percent": found.late / count * 100,
        "late_within_key_percent": found.late_within_key / count * 100,
        "smallest_share_percent": found.smallest_share * 100,
    }
    return {f"{workers}, {order.value}": figures}


def behave(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    """Counts, from one program."""
    client = candidate.make_client(stage.brokers[candidate.name].address)
    return {"": asdict(run_bounded(behaviour_of(client, count), ASKING_TIMEOUT_S))}


def kill_worker(stage: Stage, candidate: Candidate, duration_s: float) -> Mapping[str, Figures]:
    """What it costs when one of two dies."""
    play = Play([Step(RATE_DURING_INCIDENT_PER_S, duration_s)], workers=2, incident=Incident.WORKER_KILLED)
    outcome = _perform(stage, candidate, play)
    return {"": {"slowest_s": latencies_ms(_all(outcome))[-1] / 1e3, **_account_figures(outcome)}}


def kill_broker(stage: Stage, candidate: Candidate, duration_s: float) -> Mapping[str, Figures]:
    """What it costs when a broker dies that holds nothing else, and whose topology is older than its last start."""
    play = Play([Step(RATE_DURING_INCIDENT_PER_S, duration_s)], incident=Incident.BROKER_KILLED)
    with stage.fresh_broker(candidate) as broker, stage.run_folder() as folder:
        topology = prepare(candidate, broker, play)
        broker.stop()
        broker.start()
        return {"": recovery(perform(candidate, broker, topology, play, folder))}


def recovery(outcome: Outcome) -> Figures:
    """Of an incident: the broker's part, and what publisher and worker saw."""
    happened = outcome.happened
    assert happened is not None
    confirmed = [one.confirmed_ns for one in outcome.confirmations]
    return {
        "answers_again_s": (happened.answered_ns - happened.killed_ns) / 1e9,
        "confirming_again_s": (first_after(confirmed, happened.gone_ns) - happened.killed_ns) / 1e9,
        "silent_s": longest_silence_ms(one.received_ns for one in _all(outcome)) / 1e3,
        **_account_figures(outcome),
    }


def _account_figures(outcome: Outcome) -> Figures:
    found = account(outcome.confirmations, outcome.receipts[0])
    return {"lost": found.lost, "doubled": found.doubled, "published": len(outcome.confirmations)}
