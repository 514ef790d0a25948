"""Who may do what: the one table of rules. Pure.

A principal is a name to log in with. Nothing is allowed that no rule names; there are no rules that forbid.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.topics.settings import TopicsSettings
from shared.kafka.rules import Operation, Resource, Rule

READ, WRITE = Operation.READ, Operation.WRITE
# Whoever writes asks how large a batch may be.
PUBLISH = (WRITE, Operation.DESCRIBE_CONFIGS)
TOPIC, GROUP, TRANSACTIONAL_ID = Resource.TOPIC, Resource.GROUP, Resource.TRANSACTIONAL_ID


def rules(settings: TopicsSettings) -> tuple[Rule, ...]:
    """Every rule that the settings ask for; each once."""
    found = [
        *(rule for name in settings.kafka_acl_producers for rule in _producer(settings, name)),
        *(rule for name in settings.kafka_acl_consumers for rule in _consumer(settings, name)),
        *(rule for name in settings.kafka_acl_sinks for rule in _sink(settings, name)),
        *(rule for name in settings.kafka_acl_tools for rule in _tools(settings, name)),
    ]
    return tuple(dict.fromkeys(found))


def _topic(name: str, topic: str, *operations: Operation) -> Iterator[Rule]:
    for operation in operations:
        yield Rule(f"User:{name}", TOPIC, topic, operation)


def _producer(settings: TopicsSettings, name: str) -> Iterator[Rule]:
    """It reads what it writes, without a group: at its start, to learn what a predecessor has delivered.

    Its transactional ids begin with SERVICE_NAME, which is the principal's name; one more is for the replay of its dead
    letters.
    """
    for topic in (settings.kafka_topic, settings.kafka_dead_letter_topic, settings.kafka_state_topic):
        yield from _topic(name, topic, READ, *PUBLISH)
    for prefix in (f"{name}@", f"replay-dead-letters-{settings.kafka_dead_letter_topic}-"):
        yield Rule(f"User:{name}", TRANSACTIONAL_ID, prefix, WRITE, prefixed=True)


def _consumer(settings: TopicsSettings, name: str) -> Iterator[Rule]:
    """Its group has its name."""
    yield from _topic(name, settings.kafka_topic, READ)
    yield from _topic(name, settings.kafka_dead_letter_topic, *PUBLISH)
    yield Rule(f"User:{name}", GROUP, name, READ)


def _sink(settings: TopicsSettings, name: str) -> Iterator[Rule]:
    """A consumer with SINK=kafka: a transactional id for each partition that it reads."""
    assert settings.kafka_sink_topic is not None, "settings refuse KAFKA_ACL_SINKS without KAFKA_SINK_TOPIC"
    yield from _topic(name, settings.kafka_sink_topic, *PUBLISH)
    yield Rule(f"User:{name}", TRANSACTIONAL_ID, f"{name}-{settings.kafka_topic}-", WRITE, prefixed=True)


def _tools(settings: TopicsSettings, name: str) -> Iterator[Rule]:
    """What lists dead letters and sends them to their group again."""
    yield from _topic(name, settings.kafka_dead_letter_topic, READ, *PUBLISH)
    yield from _topic(name, settings.kafka_topic, *PUBLISH)
    prefix = f"replay-to-group-{settings.kafka_dead_letter_topic}-"
    yield Rule(f"User:{name}", TRANSACTIONAL_ID, prefix, WRITE, prefixed=True)
