"""How each question is answered: plays against one broker, and the figures that follow from what was noted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.brokers.behaviour import behaviour_of, publish_all
from bench.brokers.broker import Broker, Candidate, Order, Topology
from bench.brokers.job import Step
from bench.brokers.journal import Receipt, account, latencies_ms, longest_silence_ms, p50_p99
from bench.brokers.messages import message
from bench.brokers.play import Incident, Outcome, Play, perform
from bench.brokers.stage import Stage
from bench.brokers.sync_calls import count_sync_calls
from bench.child import memory_bytes
from bench.contender import Figures
from bench.errors import BenchmarkFailed

HANDLING_MS = 4.0
SETTLE_S = 1.0
WARM_UP_S = 0.5
FILL_TIMEOUT_S = 900.0


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


def _perform(stage: Stage, candidate: Candidate, play: Play) -> Outcome:
    """Raises BenchmarkFailed when something was lost though nothing had happened."""
    with stage.run_folder() as folder:
        outcome = perform(candidate, stage.brokers[candidate.name], play, folder)
    lost = [account(outcome.confirmations, group).lost for group in outcome.receipts]
    if any(lost) and play.incident is Incident.NONE:
        raise BenchmarkFailed(f"{candidate.name}: groups did not get {lost} of {len(outcome.confirmations)} messages")
    return outcome


def count_syncs(stage: Stage, candidate: Candidate, duration_s: float) -> Mapping[str, Figures]:
    """While messages are confirmed as fast as they go."""
    with stage.run_folder() as folder, count_sync_calls(stage.brokers[candidate.name].pid, folder) as calls:
        outcome = _perform(stage, candidate, Play([Step(0, duration_s)]))
    if calls.count is None:
        return {"": {}}
    return {"": {"syncs_per_1000": calls.count / len(outcome.confirmations) * 1e3}}


def climb(stage: Stage, candidate: Candidate, rates_per_s: Sequence[int], rate_s: float) -> Mapping[str, Figures]:
    """Latencies by rate, of one publisher that goes up the ladder."""
    steps = [Step(rates_per_s[0], WARM_UP_S), *(Step(rate, rate_s) for rate in rates_per_s)]  # the first one warms up
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


def store(stage: Stage, candidate: Candidate, groups: int, count: int) -> Mapping[str, Figures]:
    """Growth of the data folder by message."""
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


def share(stage: Stage, candidate: Candidate, workers: int, order: Order, duration_s: float) -> Mapping[str, Figures]:
    """What a group of workers handles, and in which order."""
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


def behave(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    """Counts, from one program."""
    client = candidate.make_client(stage.brokers[candidate.name].address)
    return {"": asdict(asyncio.run(behaviour_of(client, count)))}


def kill(
    stage: Stage, candidate: Candidate, incident: Incident, workers: int, duration_s: float
) -> Mapping[str, Figures]:
    """What an incident in the middle costs."""
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


def fill(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    """Memory and disk of a broker of its own."""
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
