"""Every scenario of the consumer, the faults that it has to stand, and every mutation with what has to find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.chaos.auditor import Kind
from tests.chaos.consumers.scenario import ConsumerScenario
from tests.chaos.consumers.scenarios import SCENARIOS as ALL
from tests.chaos.table import Mutation

SCENARIOS: Mapping[str, ConsumerScenario] = {scenario.name: scenario for scenario in ALL}
# What a consumer has to stand; each entry has a scenario at least.
FAULTS: Mapping[str, Sequence[str]] = {
    "Consumer": (
        "replica SIGKILL at random moments",
        "SIGTERM, rolling restart",
        "SIGSTOP past the session, then SIGCONT (zombie)",
        "scaled 1 → 4 → 2 → 4 under load",
        "one replica more or less every 5 s",
        "broker SIGKILL and restart under the group",
        "values that are no records, at every place",
        "records that the sink fails at",
        "a sink slower than the session",
        "the sink is away: an error, a full disk, a database killed and restarted",
        "connections to the database cut at random moments",
        "the connection cut in the middle of COMMIT",
        "one replica cut off from the broker, and back",
        "a client that is alive and stuck",
        "a sink that never returns",
        "the webhook refuses, fails and hangs",
        "the webhook refuses, fails and hangs while the process is killed",
        "SIGTERM while alarms are told",
        "retention overtakes a group that is away",
    ),
}
MUTATIONS = (
    Mutation("commit_before_sink", "replicas_killed_at_random_moments_handler", Kind.MISSING),
    Mutation("commit_all_on_revoke", "scaled_under_load_handler", Kind.MISSING),
    Mutation("swallowed_sink_error", "sink_away_handler", Kind.MISSING),
    Mutation("alarm_given_up", "webhook_away_alerts", Kind.MISSING),
)
