"""The table of rules: what each kind of principal may do, and nothing else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.topics.access import rules
from services.topics.settings import TopicsSettings
from shared.kafka.rules import Operation, Resource, Rule, surplus_of

TOPICS = {"records": "nginx_logs", "dead": "nginx_logs_dead_letters", "state": "nginx_logs_state"}


def of(**given: str) -> set[str]:
    return {str(rule) for rule in rules(TopicsSettings.model_validate(given))}


def test_without_names_there_are_no_rules() -> None:
    """A broker without an authorizer would refuse every one."""
    assert not rules(TopicsSettings())


def test_a_producer_writes_its_topics_and_reads_them_without_a_group() -> None:
    topics = [f"{does} TOPIC {topic}" for topic in TOPICS.values() for does in ("READ", "WRITE", "DESCRIBE_CONFIGS")]
    ids = ["WRITE TRANSACTIONAL_ID web@*", "WRITE TRANSACTIONAL_ID replay-dead-letters-nginx_logs_dead_letters-*"]
    assert of(kafka_acl_producers="web") == {f"User:web: {right}" for right in (*topics, *ids)}


def test_a_consumer_reads_records_as_its_own_group_and_sets_letters_aside() -> None:
    assert of(kafka_acl_consumers="a, b") == {
        f"User:{name}: {right}"
        for name in ("a", "b")
        for right in (
            "READ TOPIC nginx_logs",
            f"READ GROUP {name}",
            "WRITE TOPIC nginx_logs_dead_letters",
            "DESCRIBE_CONFIGS TOPIC nginx_logs_dead_letters",
        )
    }


def test_only_a_named_sink_may_write_and_only_its_own_topic() -> None:
    names = {"kafka_acl_consumers": "a,b", "kafka_sink_topic": "copies"}
    assert of(**names, kafka_acl_sinks="a") - of(**names) == {
        "User:a: WRITE TOPIC copies",
        "User:a: DESCRIBE_CONFIGS TOPIC copies",
        "User:a: WRITE TRANSACTIONAL_ID a-nginx_logs-*",
    }


def test_tools_send_dead_letters_again() -> None:
    assert of(kafka_acl_tools="t") == {
        "User:t: READ TOPIC nginx_logs_dead_letters",
        "User:t: WRITE TOPIC nginx_logs_dead_letters",
        "User:t: DESCRIBE_CONFIGS TOPIC nginx_logs_dead_letters",
        "User:t: WRITE TOPIC nginx_logs",
        "User:t: DESCRIBE_CONFIGS TOPIC nginx_logs",
        "User:t: WRITE TRANSACTIONAL_ID replay-to-group-nginx_logs_dead_letters-*",
    }


def test_prefixes_are_for_transactions_alone() -> None:
    """One for a topic or a group would reach those that somebody makes later."""
    given = {"kafka_acl_producers": "p", "kafka_acl_consumers": "c", "kafka_acl_tools": "t"}
    found = rules(TopicsSettings.model_validate({**given, "kafka_acl_sinks": "c", "kafka_sink_topic": "copies"}))
    assert {rule.resource for rule in found if rule.prefixed} == {Resource.TRANSACTIONAL_ID}
    assert {rule.operation for rule in found} == set(Operation)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kafka_acl_sinks": "c", "kafka_acl_consumers": "c"}, "needs KAFKA_SINK_TOPIC"),
        ({"kafka_acl_sinks": "d", "kafka_sink_topic": "copies"}, "names d, which KAFKA_ACL_CONSUMERS does not name"),
    ],
)
def test_a_sink_that_is_none_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TopicsSettings.model_validate(given)


WANTED = Rule("User:c", Resource.TOPIC, "nginx_logs", Operation.READ)
WANTED_IDS = Rule("User:p", Resource.TRANSACTIONAL_ID, "p@", Operation.WRITE, prefixed=True)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (WANTED._replace(operation=Operation.WRITE), "User:c: WRITE TOPIC nginx_logs"),
        (WANTED._replace(principal="User:gone"), "User:gone: READ TOPIC nginx_logs"),
        (WANTED._replace(principal="User:x", name="nginx", prefixed=True), "User:x: READ TOPIC nginx*"),
        (WANTED._replace(principal="User:x", name="*"), "User:x: READ TOPIC *"),
        (WANTED._replace(principal="User:*", name="another"), "User:*: READ TOPIC another"),
        (WANTED_IDS._replace(principal="User:x", name="p@web", prefixed=False), "User:x: WRITE TRANSACTIONAL_ID p@web"),
        (WANTED._replace(allowed=False, host="10.0.0.1"), "User:c: READ TOPIC nginx_logs from 10.0.0.1 (denied)"),
        (Rule("User:c", 4, "kafka-cluster", 12), "User:c: operation 12 resource 4 kafka-cluster"),
    ],
)
def test_what_else_the_broker_allows_there_is_told(rule: Rule, said: str) -> None:
    """Of principals that are gone and of everybody too."""
    assert surplus_of([WANTED, rule], [WANTED, WANTED_IDS]) == (said,)


@pytest.mark.parametrize(
    "rule",
    [
        WANTED._replace(principal="User:x", name="nginx_logs_of_others"),
        WANTED._replace(principal="User:x", name="nginx_logs_", prefixed=True),
        WANTED._replace(principal="User:x", resource=Resource.GROUP),
        WANTED_IDS._replace(principal="User:x", name="q"),
    ],
)
def test_what_others_do_elsewhere_is_not(rule: Rule) -> None:
    assert surplus_of([rule], [WANTED, WANTED_IDS]) == ()
