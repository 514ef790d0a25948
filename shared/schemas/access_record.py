"""One request, as nginx logged it: the value of every record in the topic.

Within one schema version, fields are only ever added: a reader ignores fields that it does not know.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.schemas.terminal import escape_terminal_controls

SCHEMA_VERSION: Literal[1] = 1

_Counter = Annotated[int, Field(ge=0, lt=2**63)]


class Source(BaseModel):
    """Where the line stands. (generation, offset) names a line for good: a duplicate has the same pair."""

    model_config = ConfigDict(frozen=True, strict=True)

    host: str = Field(description="Name of the host whose file it is.")
    file: str = Field(description="Path under which the file was first followed; it stays when the file is rotated.")
    generation: str = Field(description="Identity of the file's content: a new one after truncation or recreation.")
    offset: _Counter = Field(description="Byte offset of the line's first byte in that generation.")
    length: _Counter = Field(description="Bytes of the line, without its newline.")


class AccessRecord(BaseModel):
    """A parsed line of an access log. Absent values (nginx writes `-`) are null."""

    model_config = ConfigDict(frozen=True, strict=True)

    schema_version: Literal[1] = Field(description="Version of this schema.")
    time: AwareDatetime = Field(description="$time_local, with the server's offset from UTC.")
    client_address: str = Field(description="$remote_addr: an address, or `unix:`.")
    remote_user: str | None = Field(description="$remote_user.")
    method: str | None = Field(description="Method of $request; null when $request is not `METHOD target PROTOCOL`.")
    path: str | None = Field(description="Target of $request before the first `?`, as the client sent it.")
    query: str | None = Field(description="Target of $request after the first `?`; null without one.")
    protocol: str | None = Field(description="Protocol of $request, such as `HTTP/1.1`.")
    request: str | None = Field(description="The whole of $request where it could not be split, else null.")
    status: Annotated[int, Field(ge=0, le=999)] = Field(description="$status; 0 for nginx's 000.")
    body_bytes: _Counter | None = Field(description="$body_bytes_sent.")
    referrer: str | None = Field(description="$http_referer.")
    user_agent: str | None = Field(description="$http_user_agent.")
    forwarded_for: str | None = Field(description="$http_x_forwarded_for; null in formats that lack it.")
    escaped_fields: tuple[str, ...] = Field(
        description=r"Names of the fields whose bytes are no UTF-8. There, a `\xHH` stands for one byte, "
        r"and a backslash is written as `\x5C`."
    )
    source: Source

    def to_json(self) -> bytes:
        """The value as it is published: compact JSON in one line, safe to print on a terminal."""
        return escape_terminal_controls(self.model_dump_json().encode())
