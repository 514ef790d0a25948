"""Every variable of the one-shot `topics`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.runtime.settings import CommaSeparated, KafkaSettings, TopicName


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

    kafka_acl_producers: CommaSeparated = Field(
        (),
        description="Names that producers log in with, comma-separated; each is also their SERVICE_NAME. They are "
        "given the rights that they need. For a broker with an authorizer.",
    )
    kafka_acl_consumers: CommaSeparated = Field(
        (),
        description="Names that consumers log in with; each is also their group, the only one that they may read as.",
    )
    kafka_acl_sinks: CommaSeparated = Field(
        (), description="Those of the consumers that have SINK=kafka and may write KAFKA_SINK_TOPIC."
    )
    kafka_acl_tools: CommaSeparated = Field(
        (), description="Names that `make dead-letters` and `make replay-to-group` log in with."
    )

    @field_validator("kafka_acl_producers", "kafka_acl_consumers", "kafka_acl_sinks", "kafka_acl_tools", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @model_validator(mode="after")
    def _check_sinks(self) -> Self:
        if self.kafka_acl_sinks and self.kafka_sink_topic is None:
            raise ValueError("KAFKA_ACL_SINKS needs KAFKA_SINK_TOPIC, the topic that they may write.")
        strangers = [name for name in self.kafka_acl_sinks if name not in self.kafka_acl_consumers]
        if strangers:
            raise ValueError(f"KAFKA_ACL_SINKS names {', '.join(strangers)}, which KAFKA_ACL_CONSUMERS does not name.")
        return self

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.kafka_topic_min_insync_replicas > self.kafka_topic_replication_factor:
            raise ValueError(
                f"KAFKA_TOPIC_MIN_INSYNC_REPLICAS={self.kafka_topic_min_insync_replicas} is more than "
                f"KAFKA_TOPIC_REPLICATION_FACTOR={self.kafka_topic_replication_factor}: nothing could ever be confirmed"
            )
        return self
