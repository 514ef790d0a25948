"""Settings from environment variables: the base that every service extends, its errors and its help.

A field's name in capitals is the variable; its description is the text of `--help` and of docs/settings.md.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import InvalidSettings
from shared.runtime.security import problems_of

MAX_PORT = 65_535

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def _check_topic(name: str) -> str:
    """Kafka's own rule, which it tells only when the topic is made or asked for."""
    if name in (".", "..") or not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name):
        raise ValueError("Kafka lets a topic's name be 1 to 249 of a-z A-Z 0-9 . _ - and neither '.' nor '..'")
    return name


TopicName = Annotated[str, AfterValidator(_check_topic)]


class ServiceSettings(BaseSettings):
    """What every service of the pipeline understands."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, allow_inf_nan=False)

    service_name: str = Field(min_length=1, description="Name of this service in logs and metrics.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    log_renderer: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` lines, or text for people; `auto` is `console` on a terminal."
    )
    http_host: str = Field("127.0.0.1", description="Address that health and metrics listen on.")
    http_port: int = Field(8080, ge=0, le=MAX_PORT, description="Port of health and metrics; 0 takes any free one.")
    report_interval_s: float = Field(10.0, gt=0, description="Seconds between two progress lines in the log.")
    shutdown_timeout_s: float = Field(
        20.0,
        gt=0,
        le=86_400,
        description="Seconds that SIGTERM leaves for draining; the container's grace must be longer.",
    )

    @property
    def client_id(self) -> str:
        """Name of this replica towards the broker and in the log: service and host."""
        return f"{self.service_name}-{socket.gethostname()}"


class SecuritySettings(ServiceSettings):
    """How a client and the brokers know each other. Secrets stand in files, which may change while a client lives."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="`SSL` encrypts and checks certificates, `SASL_…` logs in with a name and a password."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="How to log in. `PLAIN` shows the broker the password, `SCRAM-…` proves that it is known."
    )
    kafka_sasl_username: str | None = Field(None, min_length=1, description="Name to log in with.")
    kafka_sasl_password_file: Path | None = Field(
        None, description="File that holds the password, read whenever a Kafka client is made."
    )
    kafka_ssl_ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) of which one must vouch for the brokers', read at each connection; without it "
        "those that the system trusts.",
    )
    kafka_ssl_certificate_file: Path | None = Field(
        None, description="Certificate (PEM) to show to the brokers, with those between it and the CA; read likewise."
    )
    kafka_ssl_key_file: Path | None = Field(
        None, description="Private key (PEM) of that certificate, where it is not in the same file."
    )
    kafka_ssl_key_password_file: Path | None = Field(None, description="File that holds the password of the key.")
    kafka_ssl_check_hostname: bool = Field(
        True, description="Whether a broker's certificate must be for the name that it is reached by."
    )

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        given = {name: getattr(self, name) for name in SecuritySettings.model_fields if name.startswith("kafka_")}
        if problems := problems_of(given):
            raise ValueError("\n".join(problems))
        return self


class KafkaSettings(SecuritySettings):
    """What every service that speaks to Kafka understands besides."""

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Brokers to start from, `host:port`, comma-separated."
    )
    kafka_topic: TopicName = Field("nginx_logs", description="Topic of the records.")
    kafka_dead_letter_topic: TopicName = Field(
        "nginx_logs_dead_letters", description="Topic for what could not be processed."
    )
    kafka_request_timeout_ms: int = Field(
        15_000, ge=1_000, description="Longest wait for one answer of a broker, in milliseconds."
    )

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _check_servers(cls, servers: str) -> str:
        for server in servers.split(","):
            found = re.fullmatch(r"\s*(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?\s*", server)
            if not found:
                raise ValueError(f"{server!r} is no `host:port`")
            if found[2] and not 1 <= int(found[2]) <= MAX_PORT:
                raise ValueError(f"the port of {server!r} is none of 1 to {MAX_PORT}")
        return servers

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        topics = {name: getattr(self, name) for name in type(self).model_fields if name.endswith("_topic")}
        for first, second in combinations(topics, 2):
            if topics[first] == topics[second]:
                raise ValueError(
                    f"{first.upper()} and {second.upper()} are both {topics[first]!r}; they must be two topics"
                )
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(kind: type[Settings], **given: Any) -> Settings:
    """Read the environment; what is `given` by the name of its field goes before that.

    Raises InvalidSettings, which names each variable, its value and what is allowed.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        problems = [_describe_problem(kind, problem) for problem in error.errors(include_url=False)]
        raise InvalidSettings("\n".join(problems)) from error


def _describe_problem(kind: type[BaseSettings], problem: Any) -> str:
    """One line for one entry of `ValidationError.errors()`."""
    message: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    field = kind.model_fields[name]
    if problem["type"] == "missing":
        return f"{name.upper()} is not set. It is required: {field.description}"
    secret = SecretStr in (field.annotation, *get_args(field.annotation))
    value = "(hidden)" if secret else repr(problem["input"])
    return f"{name.upper()}={value} is not allowed: {message}. {field.description}"


@dataclass(frozen=True)
class SettingHelp:
    """One row of the settings' documentation."""

    variable: str
    allowed: str
    default: str
    description: str


def describe_settings(kind: type[BaseSettings]) -> Iterator[SettingHelp]:
    """Every variable that `kind` reads, in the order of its fields, the service's own ones first."""
    inherited = {name for base in kind.__bases__ for name in getattr(base, "model_fields", {})}
    ordered = sorted(kind.model_fields.items(), key=lambda item: item[0] in inherited)
    for name, field in ordered:
        yield SettingHelp(name.upper(), _describe_type(field), _describe_default(field), field.description or "")


def _describe_type(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " | ".join(annotation)
    names = {int: "whole number", float: "number", str: "text", bool: "true | false"}
    for kind in get_args(annotation) or (annotation,):
        if get_origin(kind) is Literal:
            return " | ".join(str(choice) for choice in get_args(kind))
        if kind in names:
            return names[kind]
    return "text"


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None:
        return "(none)"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default)


def help_text(kind: type[BaseSettings], usage: str) -> str:
    """The text of `--help`: `usage`, then every variable with its default and meaning."""
    lines = [usage.strip(), "", "--check looks at the settings and ends: 0 if they are right, 2 with what is wrong."]
    lines += ["", "Settings are environment variables:", ""]
    for setting in describe_settings(kind):
        lines.append(f"  {setting.variable} ({setting.allowed}; default: {setting.default})")
        lines.append(f"      {setting.description}")
    return "\n".join(lines)
