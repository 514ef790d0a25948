"""The table of nginx's variables: the field that each becomes, and what may stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Path = tuple[str, ...]
"""The way to a field of the record: ("status",) or ("details", "upstream", "addresses")."""


class Kind(Enum):
    """What a variable holds; the value is said in the documentation."""

    TEXT = "text"
    WORD = "text without blanks"
    ADDRESS = "address of the client"
    REQUEST = "request"
    TARGET = "target of the request"
    STATUS = "status"
    COUNT = "whole number"
    NUMBER = "number"
    TIME_LOCAL = "time"
    TIME_ISO8601 = "time as in ISO 8601"
    EPOCH = "time in seconds since 1970"
    WORDS = "list of text"
    STATUSES = "list of statuses"
    COUNTS = "list of whole numbers"
    NUMBERS = "list of numbers"
    IGNORED = "nothing that is kept"

    # Members are compared by identity. Enum's own hash is a Python function, and runs for every value of a line.
    __hash__ = object.__hash__


TIMES = frozenset({Kind.TIME_LOCAL, Kind.TIME_ISO8601, Kind.EPOCH})
LISTS = frozenset({Kind.WORDS, Kind.STATUSES, Kind.COUNTS, Kind.NUMBERS})


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a log format, without its dollar sign."""

    name: str
    path: Path
    kind: Kind


# What a request is made of; $request and the target fill several of them.
METHOD, PATH, QUERY, PROTOCOL = ("method",), ("path",), ("query",), ("protocol",)

# httpd's %l, which nginx's own formats have as a hyphen.
IDENTITY = Variable("remote_ident", ("remote_ident",), Kind.IGNORED)
# Usually written without anything in between; together they are what $request_uri is before nginx rewrites it.
COMPOSED_TARGET = ("uri", "is_args", "args")


def _table(*rows: tuple[str, str, Kind]) -> Mapping[str, Variable]:
    return {name: Variable(name, tuple(path.split(".")), kind) for name, path, kind in rows}


KNOWN: Mapping[str, Variable] = _table(
    ("time_local", "time", Kind.TIME_LOCAL),
    ("time_iso8601", "time", Kind.TIME_ISO8601),
    ("msec", "time", Kind.EPOCH),
    ("remote_addr", "client_address", Kind.ADDRESS),
    ("remote_user", "remote_user", Kind.TEXT),
    ("request", "request", Kind.REQUEST),
    ("request_method", "method", Kind.WORD),
    ("request_uri", "path", Kind.TARGET),
    ("uri", "path", Kind.TEXT),
    ("document_uri", "path", Kind.TEXT),
    ("args", "query", Kind.TEXT),
    ("query_string", "query", Kind.TEXT),
    ("server_protocol", "protocol", Kind.WORD),
    ("status", "status", Kind.STATUS),
    ("body_bytes_sent", "body_bytes", Kind.COUNT),
    ("http_referer", "referrer", Kind.TEXT),
    ("http_user_agent", "user_agent", Kind.TEXT),
    ("http_x_forwarded_for", "forwarded_for", Kind.TEXT),
    ("host", "details.host", Kind.WORD),
    ("scheme", "details.scheme", Kind.WORD),
    ("request_id", "details.request_id", Kind.WORD),
    ("request_time", "details.request_time_s", Kind.NUMBER),
    ("request_length", "details.request_bytes", Kind.COUNT),
    ("bytes_sent", "details.sent_bytes", Kind.COUNT),
    ("gzip_ratio", "details.gzip_ratio", Kind.NUMBER),
    ("server_name", "details.server.name", Kind.WORD),
    ("server_addr", "details.server.address", Kind.WORD),
    ("server_port", "details.server.port", Kind.COUNT),
    ("hostname", "details.server.hostname", Kind.WORD),
    ("connection", "details.connection.number", Kind.COUNT),
    ("connection_requests", "details.connection.requests", Kind.COUNT),
    ("remote_port", "details.connection.client_port", Kind.COUNT),
    ("pipe", "details.connection.pipe", Kind.WORD),
    ("upstream_addr", "details.upstream.addresses", Kind.WORDS),
    ("upstream_status", "details.upstream.statuses", Kind.STATUSES),
    ("upstream_response_time", "details.upstream.response_times_s", Kind.NUMBERS),
    ("upstream_connect_time", "details.upstream.connect_times_s", Kind.NUMBERS),
    ("upstream_header_time", "details.upstream.header_times_s", Kind.NUMBERS),
    ("upstream_queue_time", "details.upstream.queue_times_s", Kind.NUMBERS),
    ("upstream_response_length", "details.upstream.response_bytes", Kind.COUNTS),
    ("upstream_bytes_received", "details.upstream.received_bytes", Kind.COUNTS),
    ("upstream_bytes_sent", "details.upstream.sent_bytes", Kind.COUNTS),
    ("upstream_cache_status", "details.upstream.cache_status", Kind.WORD),
)

# Families of variables, each an object by the rest of the name; most of their values are what a client sent.
_FAMILIES: Mapping[str, str] = {"ssl_": "tls", "http_": "request_headers", "sent_http_": "response_headers"}
_WORDS_OF_TLS = frozenset({"ssl_protocol", "ssl_cipher", "ssl_server_name", "ssl_session_id", "ssl_session_reused"})

# The first that a format has gives the record's field; the others are kept under `extra`.
_PREFERRED: Mapping[Path, tuple[str, ...]] = {
    ("time",): ("time_iso8601", "time_local", "msec"),
    METHOD: ("request", "request_method"),
    PATH: ("request", "request_uri", "uri", "document_uri"),
    QUERY: ("request", "request_uri", "args", "query_string"),
    PROTOCOL: ("request", "server_protocol"),
}


def find_variable(name: str, names: frozenset[str]) -> Variable:
    """The variable `name` in a format that has the variables `names`."""
    known = KNOWN.get(name)
    if known is None:
        return _of_family(name)
    preferred = next((other for other in _PREFERRED.get(known.path, ()) if other in names), name)
    return known if preferred == name else Variable(name, ("details", "extra", name), Kind.TEXT)


def _of_family(name: str) -> Variable:
    for prefix, group in _FAMILIES.items():
        rest = name.removeprefix(prefix)
        if rest not in (name, ""):
            return Variable(name, ("details", group, rest), Kind.WORD if name in _WORDS_OF_TLS else Kind.TEXT)
    return Variable(name, ("details", "extra", name), Kind.TEXT)
