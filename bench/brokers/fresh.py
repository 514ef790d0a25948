"""What is asked of a broker that was started for nothing else: what it takes to run, to store and to hold."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence

import psutil

from bench.brokers.behaviour import publish_all
from bench.brokers.bounded import FILL_TIMEOUT_S, PUBLISH_TIMEOUT_S, TOPOLOGY_TIMEOUT_S, run_bounded
from bench.brokers.broker import Broker, Candidate, Client, Topology
from bench.brokers.messages import message
from bench.brokers.stage import Stage
from bench.child import memory_bytes
from bench.contender import Figures

FILL_S = 100.0
SETTLE_S = 6.0
"""What brokers hold back for a moment is written by then."""
MB = 1e6


def operate(stage: Stage, candidate: Candidate) -> Mapping[str, Figures]:
    """A start without data, and what runs then."""
    with stage.own_broker(candidate) as broker:
        begun_at = time.monotonic()
        broker.start()
        start_s = time.monotonic() - begun_at
        running = processes(broker.pids)
        figures = {
            "start_s": start_s,
            "processes": len(running),
            "rss_mb": sum(process.memory_info().rss for process in running) / MB,
            "installed_mb": broker.installed_bytes() / MB,
        }
    return {"": figures}


def processes(pids: Sequence[int]) -> list[psutil.Process]:
    """These and their children."""
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


def store(stage: Stage, candidate: Candidate, group_counts: Sequence[int], count: int) -> Mapping[str, Figures]:
    """Growth of the data folder by message, for so many groups one after the other."""
    with stage.fresh_broker(candidate) as broker:
        client = candidate.make_client(broker.address)
        return {
            str(groups): {"disk_bytes_per_message": _stored(client, broker, groups, count)} for groups in group_counts
        }


def _stored(client: Client, broker: Broker, groups: int, count: int) -> float:
    topology = Topology(f"stored-{uuid.uuid4().hex[:8]}")

    async def make_groups() -> None:
        await client.create(topology)
        for group in range(groups):
            await client.create_group(topology, f"group-{group}")

    run_bounded(make_groups(), TOPOLOGY_TIMEOUT_S)
    before = broker.disk_bytes()
    run_bounded(publish_all(client, topology, count), PUBLISH_TIMEOUT_S)
    time.sleep(SETTLE_S)
    return (broker.disk_bytes() - before) / count


def fill(stage: Stage, candidate: Candidate, count: int) -> Mapping[str, Figures]:
    """Memory and disk with a backlog."""
    with stage.fresh_broker(candidate) as broker:
        before = memory_bytes("VmRSS", broker.pid)
        held = run_bounded(fill_group(candidate.make_client(broker.address), count), FILL_TIMEOUT_S)
        time.sleep(SETTLE_S)
        figures = {
            "held": held,
            "rss_before_mb": before / MB,
            "rss_mb": memory_bytes("VmRSS", broker.pid) / MB,
            "peak_rss_mb": memory_bytes("VmHWM", broker.pid) / MB,
            "disk_bytes_per_message": broker.disk_bytes() / held,
        }
    return {"": figures}


async def fill_group(client: Client, count: int) -> int:
    """Return how many messages there are: fewer than asked for where these take longer than FILL_S."""
    topology = Topology(f"backlog-{uuid.uuid4().hex[:8]}")
    await client.create(topology)
    await client.create_group(topology, "group-0")
    sent = 0
    end_at = time.monotonic() + FILL_S

    def messages() -> Iterator[tuple[bytes, bytes]]:
        nonlocal sent
        while sent < count and time.monotonic() < end_at:
            sent += 1
            yield message(sent, 0)

    await client.fill(topology, "group-0", messages())
    return sent
