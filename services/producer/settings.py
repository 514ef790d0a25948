"""Every variable of the producer."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.producer.deliver.outbox import OutboxSettings
from services.producer.deliver.partition import PartitionBy
from services.producer.nginx.choice import FormatChoice, load_choice
from services.producer.nginx.syntax import ConfigurationError
from services.producer.parse import ChunkParser, FormatRefused, LogFormat, format_of_setting
from shared.errors import InvalidSettings
from shared.kafka.producer import CompressionType
from shared.runtime.settings import CommaSeparated, KafkaSettings, TopicName


class Delivery(StrEnum):
    """The values of DELIVERY."""

    EXACTLY_ONCE = "exactly-once"
    AT_LEAST_ONCE = "at-least-once"


class ProducerSettings(KafkaSettings):
    """What to follow, how to read it, and how to deliver it."""

    service_name: str = Field("producer", min_length=1, description="Name of this service in logs and metrics.")
    log_files: CommaSeparated = Field(
        ("/var/log/nginx/*access*.log",),
        min_length=1,
        description="Files to follow: paths or glob patterns (`*`, `?`, `[…]`, `**`), comma-separated.",
    )
    start_at: Literal["beginning", "end"] = Field(
        "beginning",
        description="Where to start in files that are there when their pattern is followed for the first time.",
    )
    log_format: str = Field(
        LogFormat.AUTO,
        description="Format of the lines: `common`, `combined`, `main`, `auto` (which of them, by the line), or a "
        "`log_format` of nginx in place. For files that NGINX_CONF does not tell.",
    )
    nginx_conf: Path | None = Field(
        None,
        description="nginx's configuration; each file has the format that its `access_log` names. Read at the start.",
    )
    max_line_bytes: int = Field(
        1_048_576,
        ge=1_024,
        le=16_777_216,
        description="Longest line that is read whole; longer ones become dead letters.",
    )
    partition_by: PartitionBy = Field(
        PartitionBy.CLIENT,
        description="`client` keeps each client's order, `file` each file's; `spread` fills partitions evenly.",
    )
    source_host: str = Field(
        default_factory=socket.gethostname, min_length=1, description="Name of the host in each record."
    )
    delivery: Delivery = Field(
        Delivery.EXACTLY_ONCE,
        description="`exactly-once` finds out at each start what the topic has already, and lets no second producer of "
        "this SERVICE_NAME and SOURCE_HOST send; `at-least-once` sends again what was not confirmed.",
    )
    kafka_state_topic: TopicName = Field(
        "nginx_logs_state", description="Compacted topic for the producer's own positions."
    )
    fence_interval_s: float = Field(
        3_600.0,
        ge=1,
        description="Seconds after which a session with Kafka is begun anew; well below the brokers' "
        "`producer.id.expiration.ms`, which is a day.",
    )
    checkpoint_file: Path = Field(
        Path("/var/lib/producer/checkpoint.json"), description="Where the confirmed positions are kept."
    )
    checkpoint_interval_ms: int = Field(
        500, ge=10, le=60_000, description="Milliseconds between two writes of the checkpoint while lines flow."
    )
    compression_type: CompressionType = Field("zstd", description="Compression of the batches.")
    max_batch_bytes: int = Field(
        1_000_000, ge=4_096, le=16_777_216, description="Largest batch before compression, in bytes."
    )
    max_in_flight_chunks: int = Field(
        4,
        ge=1,
        le=64,
        description="Unconfirmed reads of 1 MiB each: bounds the memory and what a crash sends twice.",
    )
    delivery_timeout_ms: int = Field(
        30_000, ge=1_000, description="Milliseconds without a confirmation after which the Kafka client is replaced."
    )
    scan_interval_ms: int = Field(
        1_000, ge=10, le=60_000, description="Milliseconds between two looks for new, renamed and truncated files."
    )
    retire_after_s: float = Field(
        30.0, gt=0, description="Seconds without new lines after which a rotated or deleted file is let go."
    )

    @property
    def producer_name(self) -> str:
        """What this producer is called in Kafka; no two with one name send at a time."""
        return f"{self.service_name}@{self.source_host}"

    @field_validator("log_format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        try:
            format_of_setting(value)
        except FormatRefused as refused:
            raise ValueError(str(refused)) from refused
        return value

    @field_validator("log_files", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(os.path.normpath(pattern.strip()) for pattern in value.split(",") if pattern.strip())

    def outbox_settings(self, headers: Sequence[tuple[str, bytes]] = ()) -> OutboxSettings:
        """Where records go, each with these headers."""
        return OutboxSettings(
            topic=self.kafka_topic,
            dead_letter_topic=self.kafka_dead_letter_topic,
            partition_by=self.partition_by,
            service_name=self.service_name,
            host=self.source_host,
            max_in_flight_chunks=self.max_in_flight_chunks,
            delivery_timeout_s=self.delivery_timeout_ms / 1000,
            headers=headers,
        )

    def make_parser(self) -> ChunkParser:
        """A parser that says nothing of the formats it takes. Raises InvalidSettings."""
        formats = self.read_formats()
        return ChunkParser(lambda path: formats.of_file(path).format, self.source_host)

    def read_formats(self) -> FormatChoice:
        """The format of each file, with nginx's configuration as it is now. Raises InvalidSettings."""
        try:
            return load_choice(self.nginx_conf, format_of_setting(self.log_format), self.log_files)
        except ConfigurationError as error:
            raise InvalidSettings(f"NGINX_CONF={str(self.nginx_conf)!r} is not usable: {error}") from error
