"""Every scenario, and every mutation with the scenario that has to find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.auditor import Kind
from tests.chaos.scenario import Scenario
from tests.chaos.scenarios import broker, checkpoint, cluster, files, network, producer

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for family in (producer, broker, network, cluster, files, checkpoint)
    for scenario in family.SCENARIOS
}


# What a producer of this kind has to stand, by where it comes from; each entry has a scenario at least.
FAULTS: Mapping[str, Sequence[str]] = {
    "Producer": (
        "SIGKILL at random moments, 20 times",
        "SIGKILL while the broker hangs",
        "SIGTERM with a backlog",
        "SIGTERM while the broker is away",
        "broker absent at start",
        "broker down for far longer than the request time-out",
        "broker SIGKILL and restart, 5 times",
        "broker SIGSTOP",
        "leader change among three brokers",
        "min.insync.replicas not met",
        "blackholed connection (dropped, not refused)",
        "100 ms latency",
        "lost acknowledgements",
        "requests that outlive their sender",
        "topic missing at start",
        "topic deleted",
        "partitions added live",
        "a record over the broker's limit but under the client's",
        "two producers on one checkpoint",
        "two producers of one identity",
        "a paused producer that comes back (zombie)",
        "clock ±1 h",
        "1 M lines, 3 kills",
    ),
    "Files": (
        "rename rotation",
        "rename rotation 5 times while stopped",
        "a stale writer after rotation",
        "copytruncate",
        "truncated and regrown past the old offset",
        "gzip of a rotated file while stopped",
        "delete and recreate on the same inode, shorter and longer",
        "two files with identical first 4 KiB",
        "files of one line",
        "half a line, a restart, the other half",
        "no newline for ever",
        "a 10 MB line",
        "NUL, invalid UTF-8, CRLF, binary and empty lines",
        "a symlink, a FIFO and a directory in the glob",
    ),
    "Checkpoint": (
        "truncated",
        "zero-filled",
        "bad JSON",
        "stale temporary file",
        "offset beyond the file's size",
        "disk full",
        "read-only",
        "lost",
        "moved to another host",
    ),
}


@dataclass(frozen=True)
class Mutation:
    """A broken producer, where it is seen, and as what."""

    name: str
    scenario: str
    kind: Kind


MUTATIONS = (
    Mutation("checkpoint_before_confirmation", "sigterm_while_the_broker_is_down", Kind.MISSING),
    Mutation("swallowed_send_error", "broker_hangs", Kind.MISSING),
    Mutation("every_10000th_line_dropped", "sigterm_with_a_backlog", Kind.MISSING),
    Mutation("acks_0", "broker_hangs_and_dies", Kind.MISSING),
    Mutation("fence_left_out", "requests_that_outlive_their_sender", Kind.DUPLICATE),
    Mutation("tail_not_read", "sigkill_at_random_moments", Kind.DUPLICATE),
    Mutation("committed_without_the_checkpoint", "sigkill_at_random_moments", Kind.DUPLICATE),
)
