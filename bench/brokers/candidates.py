"""Who takes part: every broker in every mode, by name, with the file that knows it. The only file that names them all.

A program that needs one of them loads no other's client.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from bench.brokers.broker import Candidate

FILES: Mapping[str, str] = {
    "Kafka, default": "kafka",
    "Kafka, flush.messages=1": "kafka",
    "RabbitMQ streams": "rabbitmq_streams",
    "RabbitMQ classic": "rabbitmq_queues",
    "RabbitMQ quorum": "rabbitmq_queues",
    "ActiveMQ, sync never": "activemq",
    "ActiveMQ, sync always": "activemq",
    "SNS + SQS (moto)": "sns_sqs",
}


def find_candidate(name: str) -> Candidate:
    """By its name in the tables."""
    found: Mapping[str, Candidate] = {
        candidate.name: candidate for candidate in import_module(f"bench.brokers.{FILES[name]}").CANDIDATES
    }
    return found[name]


def all_candidates() -> list[Candidate]:
    """In the order of the tables."""
    return [find_candidate(name) for name in FILES]
