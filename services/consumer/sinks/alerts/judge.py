"""What a closed window says, by the rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.consumer.sinks.alerts.rules import Rules
from services.consumer.sinks.alerts.window import Past, Window

# Of one window; a scan from many addresses must not become as many alarms.
MAX_SCANNING_CLIENTS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a window breaks. `client` is empty where the rule is about none."""

    rule: str
    client: str
    message: str
    values: dict[str, int | float]


def judge(window: Window, past: Sequence[Past], rules: Rules) -> list[Finding]:
    """Every rule that is enabled, in their order. `past` are the windows before, the newest last."""
    found = [*_server_errors(window, rules), *_scans(window, rules)]
    return [*found, *_traffic_drop(window, past, rules), *_new_top_client(window, past, rules)]


def _server_errors(window: Window, rules: Rules) -> list[Finding]:
    rule = rules.server_errors
    if not rule.enabled or window.requests < rule.min_requests:
        return []
    share = window.server_errors / window.requests
    if share <= rule.share:
        return []
    message = f"{share:.1%} of {window.requests} requests failed with 5xx, more than {rule.share:.1%}"
    return [Finding("server_errors", "", message, {"requests": window.requests, "server_errors": window.server_errors})]


def _scans(window: Window, rules: Rules) -> list[Finding]:
    rule = rules.scan
    if not rule.enabled:
        return []
    scanning = [client for client, paths in window.missing.items() if len(paths) > rule.paths]
    scanning.sort(key=lambda client: (-window.clients[client], client))
    others = max(0, len(scanning) - MAX_SCANNING_CLIENTS)
    return [
        Finding(
            "scan",
            client,
            f"{client} asked for more than {rule.paths} different paths that are not there",
            {"requests": window.clients[client], "other_clients": others},
        )
        for client in scanning[:MAX_SCANNING_CLIENTS]
    ]


def _traffic_drop(window: Window, past: Sequence[Past], rules: Rules) -> list[Finding]:
    rule = rules.traffic_drop
    if not rule.enabled or len(past) < rule.windows:
        return []
    mean = sum(one.requests for one in past[-rule.windows :]) / rule.windows
    if mean < rule.min_requests or window.requests >= mean * (1 - rule.share):
        return []
    message = f"{window.requests} requests, where the {rule.windows} windows before had {mean:.1f} on average"
    return [Finding("traffic_drop", "", message, {"requests": window.requests, "mean_requests": round(mean, 1)})]


def _new_top_client(window: Window, past: Sequence[Past], rules: Rules) -> list[Finding]:
    rule = rules.new_top_client
    if not rule.enabled or len(past) < rule.windows or window.requests < rule.min_requests:
        return []
    client = window.past().top_clients[0]
    requests = window.clients[client]
    if requests < rule.share * window.requests or any(client in one.top_clients for one in past[-rule.windows :]):
        return []
    message = f"{client} made {requests} of {window.requests} requests and was not among the first ten before"
    return [Finding("new_top_client", client, message, {"requests": requests, "all_requests": window.requests})]
