"""One request, as nginx logged it: the value of every record in the topic.

Within one schema version, fields are only ever added: a reader ignores fields that it does not know. A field with a
default is in the JSON only when the log format has its variable: null means that nginx wrote `-`, absence that the
format does not tell. They stand in one object, so that readers of the stock formats do not pay for them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.schemas.terminal import escape_terminal_controls

SCHEMA_VERSION: Literal[1] = 1

_Counter = Annotated[int, Field(ge=0, lt=2**63)]
_Status = Annotated[int, Field(ge=0, le=999)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Texts = dict[str, str | None]


class Source(BaseModel):
    """Where the line stands. (generation, offset) names a line for good: a duplicate has the same pair."""

    model_config = ConfigDict(frozen=True, strict=True)

    host: str = Field(description="Name of the host whose file it is.")
    file: str = Field(description="Path under which the file was first followed; it stays when the file is rotated.")
    generation: str = Field(description="Identity of the file's content: a new one after truncation or recreation.")
    offset: _Counter = Field(description="Byte offset of the line's first byte in that generation.")
    length: _Counter = Field(description="Bytes of the line, without its newline.")


class Server(BaseModel):
    """The server that answered, in its own words."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str | None = Field(None, description="$server_name.")
    address: str | None = Field(None, description="$server_addr.")
    port: _Counter | None = Field(None, description="$server_port.")
    hostname: str | None = Field(None, description="$hostname.")


class Connection(BaseModel):
    """The connection that the request came over."""

    model_config = ConfigDict(frozen=True, strict=True)

    number: _Counter | None = Field(None, description="$connection.")
    requests: _Counter | None = Field(None, description="$connection_requests.")
    client_port: _Counter | None = Field(None, description="$remote_port.")
    pipe: str | None = Field(None, description="$pipe: `p` when the request was pipelined, else `.`.")


class Upstream(BaseModel):
    """The servers behind nginx, in the order in which they were asked; null in a list where nginx wrote `-`."""

    model_config = ConfigDict(frozen=True, strict=True)

    addresses: tuple[str | None, ...] | None = Field(None, description="$upstream_addr.")
    statuses: tuple[_Status | None, ...] | None = Field(None, description="$upstream_status.")
    response_times_s: tuple[_Number | None, ...] | None = Field(None, description="$upstream_response_time, seconds.")
    connect_times_s: tuple[_Number | None, ...] | None = Field(None, description="$upstream_connect_time, seconds.")
    header_times_s: tuple[_Number | None, ...] | None = Field(None, description="$upstream_header_time, seconds.")
    queue_times_s: tuple[_Number | None, ...] | None = Field(None, description="$upstream_queue_time, seconds.")
    response_bytes: tuple[_Counter | None, ...] | None = Field(None, description="$upstream_response_length.")
    received_bytes: tuple[_Counter | None, ...] | None = Field(None, description="$upstream_bytes_received.")
    sent_bytes: tuple[_Counter | None, ...] | None = Field(None, description="$upstream_bytes_sent.")
    cache_status: str | None = Field(None, description="$upstream_cache_status, such as `HIT`.")


class Details(BaseModel):
    """What log formats beyond the stock ones tell."""

    model_config = ConfigDict(frozen=True, strict=True)

    host: str | None = Field(None, description="$host: the name that the client asked for.")
    scheme: str | None = Field(None, description="$scheme.")
    request_id: str | None = Field(None, description="$request_id.")
    request_time_s: _Number | None = Field(None, description="$request_time, seconds.")
    request_bytes: _Counter | None = Field(None, description="$request_length.")
    sent_bytes: _Counter | None = Field(None, description="$bytes_sent, with the header.")
    gzip_ratio: _Number | None = Field(None, description="$gzip_ratio.")
    server: Server | None = Field(None, description="The server that answered.")
    connection: Connection | None = Field(None, description="The connection that the request came over.")
    upstream: Upstream | None = Field(None, description="The servers behind nginx.")
    tls: _Texts | None = Field(None, description="Every $ssl_…, by the rest of its name.")
    request_headers: _Texts | None = Field(None, description="Every other $http_…, by the rest of its name.")
    response_headers: _Texts | None = Field(None, description="Every $sent_http_…, by the rest of its name.")
    extra: _Texts | None = Field(None, description="Every variable that has no field, by its name.")


class AccessRecord(BaseModel):
    """A parsed line of an access log. Absent values (nginx writes `-`) are null."""

    model_config = ConfigDict(frozen=True, strict=True)

    schema_version: Literal[1] = Field(description="Version of this schema.")
    time: AwareDatetime = Field(
        description="$time_local or $time_iso8601, with the server's offset from UTC; in formats without both, $msec."
    )
    client_address: str = Field(description="$remote_addr: an address, or `unix:`.")
    remote_user: str | None = Field(description="$remote_user.")
    method: str | None = Field(description="Method of $request; null when $request is not `METHOD target PROTOCOL`.")
    path: str | None = Field(description="Target of $request before the first `?`, as the client sent it.")
    query: str | None = Field(description="Target of $request after the first `?`; null without one.")
    protocol: str | None = Field(description="Protocol of $request, such as `HTTP/1.1`.")
    request: str | None = Field(description="The whole of $request where it could not be split, else null.")
    status: _Status = Field(description="$status; 0 for nginx's 000.")
    body_bytes: _Counter | None = Field(description="$body_bytes_sent.")
    referrer: str | None = Field(description="$http_referer.")
    user_agent: str | None = Field(description="$http_user_agent.")
    forwarded_for: str | None = Field(description="$http_x_forwarded_for; null in formats that lack it.")
    details: Details | None = Field(None, description="What the format tells beyond the fields above; else left out.")
    escaped_fields: tuple[str, ...] = Field(
        description=r"Names of the fields whose bytes are no UTF-8. There, a `\xHH` stands for one byte, "
        r"and a backslash is written as `\x5C`."
    )
    source: Source

    def to_json(self) -> bytes:
        """The value as it is published: compact JSON in one line, safe to print on a terminal."""
        return escape_terminal_controls(self.model_dump_json(exclude_unset=True).encode())
