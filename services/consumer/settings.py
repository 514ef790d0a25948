"""Every variable of the service `consumer`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.consumer.transforms import TRANSFORMS
from services.consumer.where import Where
from shared.runtime.settings import KafkaSettings, TopicName

# The rest of PostgreSQL's 63 bytes is for the suffixes of the tables beside it.
_TABLE_NAME = re.compile(r"(?:[a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,49}")
_HANDLER_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class ConsumerSettings(KafkaSettings):
    """Which group to belong to, where records go, and the limits of both."""

    # No default: with one, two services that forgot to set it would share the records instead of each getting all.
    service_name: str = Field(
        min_length=1,
        description="Name of this service in logs and metrics, and of its consumer group: all replicas of a service "
        "share the records, every service gets all of them. May be left out when KAFKA_GROUP_ID is set.",
    )
    kafka_group_id: str | None = Field(
        None, min_length=1, description="Consumer group, where it is to differ from SERVICE_NAME."
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group begins that has committed nothing yet."
    )
    kafka_isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed",
        description="`read_committed` passes over records of transactions that were aborted, and waits for those that "
        "are open; the producer's own records are in none.",
    )
    kafka_client_rack: str | None = Field(
        None,
        min_length=1,
        description="Rack that this replica stands in; brokers that select copies by rack send it to the one there. "
        "Without it, it reads from the leaders.",
    )
    where: str | None = Field(
        None,
        description="Expression over the fields of a record, such as `status >= 500 and path.startswith('/api')`; "
        "records for which it is false are passed over.",
    )
    sample_ratio: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the records to take, such as 0.01, chosen by `source.generation` and `source.offset`: "
        "every group with the same share takes the same ones.",
    )
    sink: Literal["stdout", "archive", "handler", "kafka", "postgres", "alerts"] = Field(
        "stdout", description="Where records go; HANDLER alone means `handler`."
    )
    handler: str | None = Field(
        None,
        description="Your own async function over a batch of records, or over one, `package.module:function`; "
        "SINK=handler.",
    )
    archive_dir: Path = Field(Path("/var/lib/archive"), description="Folder of SINK=archive.")
    archive_buffer_bytes: int = Field(
        16_777_216, ge=1, description="Bytes of records that SINK=archive holds in memory before it writes files early."
    )
    kafka_sink_topic: TopicName | None = Field(None, description="Topic that SINK=kafka sends to.")
    transform: str = Field(
        "copy",
        description="What SINK=kafka makes of each record: `copy`, `errors` (status 500 and above), `anonymise`, or "
        "your own function, `package.module:function`.",
    )
    kafka_sink_buffer_bytes: int = Field(
        16_777_216, ge=1, description="Bytes of records that SINK=kafka holds in memory before it sends them early."
    )
    alerts_dir: Path = Field(Path("/var/lib/alerts"), description="Folder of SINK=alerts: its state and its lock.")
    alerts_file: Path | None = Field(
        None, description="Rules of SINK=alerts, TOML; without it each rule has its defaults."
    )
    alerts_webhook_url: SecretStr | None = Field(
        None, description="Where SINK=alerts posts alarms, http:// or https://; never shown. The log has them always."
    )
    alerts_webhook_url_file: Path | None = Field(
        None, description="File that holds that address, instead of ALERTS_WEBHOOK_URL."
    )
    archive_compact_after_s: float = Field(
        3_600,
        ge=0,
        allow_inf_nan=False,
        description="Seconds without a new file after which SINK=archive merges the small files of an hour; 0: never.",
    )
    # Secret until it is known to hold no password: what is refused is not shown.
    postgres_url: SecretStr | None = Field(
        None,
        description="Database of SINK=postgres, `postgresql://user@host:5432/database`, without the password. "
        "Parameters behind `?` as libpq has them, such as `sslmode=verify-full`.",
    )
    postgres_password_file: Path | None = Field(
        None, description="File that holds the password of POSTGRES_URL's user, read at each connection."
    )
    postgres_table: str = Field(
        "access_log",
        description="Table of SINK=postgres, made if it is not there, `table` or `schema.table`. Each consumer group "
        "needs one of its own. Beside it are tables of the same name with `_offsets` and `_schema`.",
    )
    postgres_buffer_records: int = Field(
        10_000, ge=1, description="Records that SINK=postgres holds in memory before it stores them early."
    )
    postgres_timeout_ms: int = Field(
        15_000, ge=100, description="Longest time for one transaction of SINK=postgres, in milliseconds."
    )
    max_poll_records: int = Field(
        500, ge=1, le=10_000, description="Records to take at a time: one batch of a partition is never larger."
    )
    commit_interval_ms: int = Field(
        1_000,
        ge=1,
        description="Milliseconds between two commits; SINK=archive writes one file a partition and hour for each, "
        "SINK=postgres one transaction.",
    )
    session_timeout_ms: int = Field(
        10_000,
        ge=6_000,
        le=1_800_000,  # group.max.session.timeout.ms of a broker as it comes: it lets no member in that asks for more
        description="Milliseconds without heartbeat after which the group gives the partitions away.",
    )
    rebalance_timeout_ms: int = Field(
        10_000,
        ge=3_000,
        description="Milliseconds to finish and commit what is in flight when the group reassigns its partitions; "
        "below KAFKA_REQUEST_TIMEOUT_MS.",
    )
    max_poll_interval_ms: int = Field(
        300_000,
        ge=10_000,
        description="Milliseconds that the sink may take for one batch; then it counts as stuck and the service exits "
        "with code 1. The group keeps a slow replica until then.",
    )
    sink_max_attempts: int = Field(
        10,
        ge=1,
        description="Attempts at a batch that the sink fails at. Then its halves are tried, and so on; records that "
        "fail alone are set aside as dead letters. A sink that is away is waited for without a limit.",
    )
    sink_retry_max_ms: int = Field(5_000, ge=1, description="Longest pause between two attempts, in milliseconds.")
    sink_breaker_after: int = Field(
        10,
        ge=0,
        description="Records set aside in a row, without one that the sink took, after which the sink counts as down: "
        "the replica rests and tries again. With 0 nothing is ever set aside because of the sink.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_from_group(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("service_name") and values.get("kafka_group_id"):
            return {**values, "service_name": values["kafka_group_id"]}
        return values

    @field_validator("handler")
    @classmethod
    def _handler_is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not _HANDLER_NAME.fullmatch(value):
            raise ValueError("it must read package.module:function")
        return value

    @field_validator("where")
    @classmethod
    def _where_is_an_expression(cls, value: str | None) -> str | None:
        if value is not None:
            Where(value)
        return value

    @field_validator("transform")
    @classmethod
    def _transform_is_known(cls, value: str) -> str:
        if value not in TRANSFORMS and not _HANDLER_NAME.fullmatch(value):
            raise ValueError(f"it must be one of {', '.join(TRANSFORMS)}, or read package.module:function")
        return value

    @model_validator(mode="after")
    def _sink_has_a_topic(self) -> Self:
        if self.sink == "kafka" and self.kafka_sink_topic is None:
            raise ValueError("SINK=kafka needs KAFKA_SINK_TOPIC, the topic to send to.")
        return self

    @field_validator("postgres_table")
    @classmethod
    def _table_is_a_name(cls, value: str) -> str:
        if not _TABLE_NAME.fullmatch(value):
            raise ValueError(
                "it must read `table` or `schema.table`, in lower-case letters, digits and _, the table with at most 50"
            )
        return value

    @field_validator("postgres_url")
    @classmethod
    def _url_has_no_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = value.get_secret_value()
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("it must begin with postgresql://")
        place, _, parameters = url.partition("?")
        user, at, _host = place.partition("://")[2].rpartition("@")
        if (at and ":" in user) or "password=" in parameters:
            raise ValueError("the password does not belong here, put it in a file and name that POSTGRES_PASSWORD_FILE")
        return value

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.sink == "handler" and self.handler is None:
            raise ValueError("SINK=handler needs HANDLER=package.module:function, the function to call.")
        if self.sink == "postgres" and self.postgres_url is None:
            raise ValueError("SINK=postgres needs POSTGRES_URL=postgresql://user@host:5432/database.")
        if self.handler is not None and self.sink_name != "handler":
            raise ValueError(f"HANDLER={self.handler} contradicts SINK={self.sink}: leave one of them out.")
        if self.alerts_webhook_url is not None and self.alerts_webhook_url_file is not None:
            raise ValueError("ALERTS_WEBHOOK_URL and ALERTS_WEBHOOK_URL_FILE are both set: leave one of them out.")
        if self.rebalance_timeout_ms >= self.kafka_request_timeout_ms:
            raise ValueError(
                f"REBALANCE_TIMEOUT_MS={self.rebalance_timeout_ms} must be below "
                f"KAFKA_REQUEST_TIMEOUT_MS={self.kafka_request_timeout_ms}: joining waits for the slowest member."
            )
        return self

    @property
    def group_id(self) -> str:
        """The consumer group."""
        return self.kafka_group_id or self.service_name

    @property
    def sink_name(self) -> str:
        """The entry of the table of sinks."""
        return self.sink if self.handler is None or "sink" in self.model_fields_set else "handler"
