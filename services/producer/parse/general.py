"""One line to one record, through the model: every line that the fast way does not take."""

from __future__ import annotations

import re

from pydantic import ValidationError

from services.producer.parse.escape import decode, unescape
from services.producer.parse.timestamp import parse_time_local
from shared.schemas import SCHEMA_VERSION, AccessRecord, DeadLetterReason, Source

_REQUEST = re.compile(rb"([A-Z][A-Z_-]*) ([^?]+?)(?:\?(.*))? (HTTP/\d\.\d)", re.DOTALL)


class LineRejected(Exception):
    """The line is no record; `message` is for a person."""

    def __init__(self, reason: DeadLetterReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def parse_line(line: bytes, expression: re.Pattern[bytes], source: Source) -> AccessRecord:
    """The record of one line without its newline. Raises LineRejected."""
    match = expression.fullmatch(line)
    if match is None:
        raise LineRejected(DeadLetterReason.UNPARSEABLE_LINE, "the line is not in the expected log format")
    address, user, time, request, status, size, referrer, agent, forwarded_for = match.groups()
    fields = _Fields()
    try:
        return AccessRecord(
            schema_version=SCHEMA_VERSION,
            time=parse_time_local(time),
            client_address=fields.text("client_address", address) or "-",
            remote_user=fields.text("remote_user", user),
            **fields.request(request),
            status=int(status),
            body_bytes=None if size == b"-" else int(size),
            referrer=fields.text("referrer", referrer),
            user_agent=fields.text("user_agent", agent),
            forwarded_for=fields.text("forwarded_for", forwarded_for),
            escaped_fields=tuple(fields.escaped),
            source=source,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = f"{first['loc'][0]}: {first['msg']}" if first["loc"] else first["msg"]
        raise LineRejected(DeadLetterReason.INVALID_VALUE, message) from error
    except (ValueError, OverflowError) as error:
        raise LineRejected(DeadLetterReason.INVALID_VALUE, f"time: {error}") from error


class _Fields:
    """Decodes the fields of one line and notes those whose bytes are no UTF-8."""

    def __init__(self) -> None:
        self.escaped: list[str] = []

    def text(self, name: str, raw: bytes | None) -> str | None:
        """The field as the client sent it; None for an absent one."""
        if raw is None or raw == b"-":
            return None
        return self._decode(name, unescape(raw))

    def _decode(self, name: str, sent: bytes | None) -> str | None:
        if sent is None:
            return None
        text, escaped = decode(sent)
        if escaped:
            self.escaped.append(name)
        return text

    def request(self, raw: bytes) -> dict[str, str | None]:
        """`method`, `path`, `query` and `protocol`, or `request` alone when it is not of that form."""
        sent = unescape(raw)
        match = _REQUEST.fullmatch(sent)
        if match is None:
            whole = None if raw == b"-" else self._decode("request", sent)
            return {"method": None, "path": None, "query": None, "protocol": None, "request": whole}
        method, path, query, protocol = match.groups()
        return {
            "method": method.decode(),
            "path": self._decode("path", path),
            "query": self._decode("query", query),
            "protocol": protocol.decode(),
            "request": None,
        }
