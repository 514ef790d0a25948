"""Who takes part: every broker in every mode. The only file that names them all."""

from __future__ import annotations

from bench.brokers.activemq import ACTIVEMQ
from bench.brokers.broker import Candidate
from bench.brokers.kafka import KAFKA
from bench.brokers.rabbitmq_queues import CLASSIC_QUEUES, QUORUM_QUEUES
from bench.brokers.rabbitmq_streams import STREAMS
from bench.brokers.sns_sqs import SNS_SQS

CANDIDATES: dict[str, Candidate] = {
    candidate.name: candidate
    for candidate in (*KAFKA, STREAMS, CLASSIC_QUEUES, QUORUM_QUEUES, *ACTIVEMQ, SNS_SQS)
}
