"""The rules of access that a broker holds: missing ones are made, others of the same principals are told of.

aiokafka 0.14 has the messages for them and no calls. Needs a broker with an authorizer, and a principal that may alter
the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from shared.errors import FatalError
from shared.kafka.rules import Operation, Resource, Rule
from shared.kafka.topics import open_admin
from shared.runtime.settings import KafkaSettings

# Kafka's numbers.
ANY = 1
LITERAL, PREFIXED = 3, 4
ALLOW = 3
EVERY_HOST = "*"


@dataclass(frozen=True)
class RulesOutcome:
    """What `ensure_rules` did: rules that were made, and what else the principals may do, in words."""

    made: int
    surplus: tuple[str, ...]


async def ensure_rules(settings: KafkaSettings, wanted: Sequence[Rule]) -> RulesOutcome:
    """Make the rules that are missing; nothing is taken away. Idempotent.

    Raises BrokerUnavailable while the broker is away, AccessDenied and FatalError when it refuses.
    """
    async with open_admin(settings) as admin:
        found: set[Rule] = set()
        surplus: list[str] = []
        for principal in sorted({rule.principal for rule in wanted}):
            known, others = await _rules_of(admin, principal)
            found |= known
            surplus += others
        missing = [rule for rule in wanted if rule not in found]
        for rule in missing:
            await _make(admin, rule)
    return RulesOutcome(len(missing), (*map(str, sorted(found - set(wanted))), *surplus))


async def _rules_of(admin: AIOKafkaAdminClient, principal: str) -> tuple[set[Rule], list[str]]:
    """The rules of a principal, and those that this program would never make, in words."""
    answer = await admin._send_request(DescribeAclsRequest(ANY, None, ANY, principal, None, ANY, ANY))
    _raise_for(answer.error_code, answer.error_message)
    known: set[Rule] = set()
    others: list[str] = []
    for kind, name, pattern, entries in answer.resources:
        for _principal, host, operation, permission in entries:
            try:
                rule = Rule(principal, Resource(kind), name, Operation(operation), pattern == PREFIXED)
            except ValueError:
                others.append(f"{principal}: operation {operation} on {name}")
                continue
            if (host, permission) == (EVERY_HOST, ALLOW):
                known.add(rule)
            else:
                others.append(f"{rule} ({'allowed' if permission == ALLOW else 'denied'} from {host})")
    return known, others


async def _make(admin: AIOKafkaAdminClient, rule: Rule) -> None:
    pattern = PREFIXED if rule.prefixed else LITERAL
    request = CreateAclsRequest(rule.resource, rule.name, pattern, rule.principal, EVERY_HOST, rule.operation, ALLOW)
    answer = await admin._send_request(request)
    for code, message in answer.creation_responses:
        _raise_for(code, message)


def _raise_for(code: int, message: str | None) -> None:
    error = kafka_errors.for_code(code)
    if error is kafka_errors.NoError:
        return
    if error is kafka_errors.SecurityDisabledError:
        raise FatalError("the broker has no authorizer, so no rule would hold: leave KAFKA_ACL_… out, or configure one")
    raise error(message)
