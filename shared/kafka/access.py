"""The rules of access that a broker holds: missing ones are made, others that concern the same things are told of.

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
from shared.kafka.rules import Rule, surplus_of
from shared.kafka.topics import open_admin
from shared.runtime.settings import KafkaSettings

# Kafka's numbers.
ANY = 1
LITERAL, PREFIXED = 3, 4
ALLOW = 3


@dataclass(frozen=True)
class RulesOutcome:
    """What `ensure_rules` did: rules that were made, and what else is allowed or forbidden there, in words."""

    made: int
    surplus: tuple[str, ...]


async def ensure_rules(settings: KafkaSettings, wanted: Sequence[Rule]) -> RulesOutcome:
    """Make the rules that are missing; nothing is taken away. Idempotent.

    Raises BrokerUnavailable while the broker is away, AccessDenied and FatalError when it refuses.
    """
    async with open_admin(settings) as admin:
        held = await _rules_held(admin)
        missing = [rule for rule in wanted if rule not in held]
        for rule in missing:
            await _make(admin, rule)
    return RulesOutcome(len(missing), surplus_of(held, wanted))


async def _rules_held(admin: AIOKafkaAdminClient) -> set[Rule]:
    """All rules of the broker, whoever they are for."""
    answer = await admin._send_request(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
    _raise_for(answer.error_code, answer.error_message)
    return {
        Rule(principal, kind, name, operation, pattern == PREFIXED, permission == ALLOW, host)
        for kind, name, pattern, entries in answer.resources
        for principal, host, operation, permission in entries
    }


async def _make(admin: AIOKafkaAdminClient, rule: Rule) -> None:
    pattern = PREFIXED if rule.prefixed else LITERAL
    request = CreateAclsRequest(rule.resource, rule.name, pattern, rule.principal, rule.host, rule.operation, ALLOW)
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
