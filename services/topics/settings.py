"""Every variable of the one-shot `topics`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from shared.runtime.settings import KafkaSettings, TopicName


class TopicsSettings(KafkaSettings):
    """What the topics should be."""

    service_name: str = Field("topics", min_length=1, description="Name of this service in logs and metrics.")
    kafka_topic_partitions: int = Field(
        8, ge=1, le=10_000, description="Partitions of both topics: the most replicas of a group that can work."
    )
    kafka_topic_replication_factor: int = Field(1, ge=1, le=10, description="Copies of each partition.")
    kafka_topic_min_insync_replicas: int = Field(
        1, ge=1, le=10, description="Copies that must have a batch before it is confirmed."
    )
    kafka_topic_retention_ms: int = Field(
        604_800_000, ge=-1, description="Milliseconds that records are kept; -1 keeps them for ever."
    )
    kafka_dead_letter_retention_ms: int = Field(
        2_592_000_000, ge=-1, description="Milliseconds that dead letters are kept; -1 keeps them for ever."
    )

    kafka_state_topic: TopicName = Field(
        "nginx_logs_state", description="Compacted topic in which producers keep their positions."
    )

    kafka_sink_topic: TopicName | None = Field(
        None, description="Topic of a consumer with SINK=kafka; made like KAFKA_TOPIC when it is named."
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.kafka_topic_min_insync_replicas > self.kafka_topic_replication_factor:
            raise ValueError(
                f"KAFKA_TOPIC_MIN_INSYNC_REPLICAS={self.kafka_topic_min_insync_replicas} is more than "
                f"KAFKA_TOPIC_REPLICATION_FACTOR={self.kafka_topic_replication_factor}: nothing could ever be confirmed"
            )
        return self
