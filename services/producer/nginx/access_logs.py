"""Which file nginx writes in which format, from its directives. Pure."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.producer.nginx.syntax import ConfigurationError, Directive, Place

# `stream` and `mail` have log formats of their own, for connections instead of requests.
_OTHER_PROTOCOLS = frozenset({"stream", "mail"})
_DEFAULT_FORMAT = "combined"
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})", re.ASCII)
# What rotation adds to a name: `.1`, `-20260101`.
_ROTATED = r"(?:[.-][^/]*)?"


@dataclass(frozen=True, slots=True)
class FormatDefinition:
    """A `log_format`."""

    name: str
    escape: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class AccessLog:
    """An `access_log` that goes to a file. `path` may hold variables."""

    path: str
    format_name: str
    place: Place

    def is_written_to(self, file: str) -> bool:
        """Whether the file is this log, also after rotation. A relative path begins at a folder that nginx knows."""
        pattern = r"[^/]*".join(re.escape(piece) for piece in _VARIABLE.split(self.path))
        anywhere = "" if self.path.startswith("/") else "(?:.*/)?"
        return re.fullmatch(anywhere + pattern + _ROTATED, file) is not None

    @property
    def has_variables(self) -> bool:
        return _VARIABLE.search(self.path) is not None


@dataclass(frozen=True)
class AccessLogs:
    """What the configuration says of logs; `notes` are for a person."""

    formats: Mapping[str, FormatDefinition]
    logs: Sequence[AccessLog]
    notes: Sequence[str] = field(default=())


def find_access_logs(directives: Iterable[Directive]) -> AccessLogs:
    """The formats and logs of the http part. Raises ConfigurationError, which names file and line."""
    formats: dict[str, FormatDefinition] = {}
    logs: list[AccessLog] = []
    notes: list[str] = []
    for directive in directives:
        if _OTHER_PROTOCOLS & set(directive.blocks):
            continue
        if directive.name == "log_format":
            definition = _definition(directive)
            formats[definition.name] = definition
        elif directive.name == "access_log" and directive.arguments[:1] != ("off",):
            _add_log(directive, logs, notes)
    for log in logs:
        if log.format_name not in formats and log.format_name != _DEFAULT_FORMAT:
            raise ConfigurationError(f"{log.place}: no log_format is called {log.format_name!r}")
    return AccessLogs(formats, logs, notes)


def _definition(directive: Directive) -> FormatDefinition:
    name, *pieces = directive.arguments or ("",)
    escape = "default"
    if pieces and pieces[0].startswith("escape="):
        escape = pieces.pop(0).removeprefix("escape=")
    if not pieces:
        raise ConfigurationError(f"{directive.place}: log_format needs a name and a format")
    return FormatDefinition(name, escape, "".join(pieces), directive.place)


def _add_log(directive: Directive, logs: list[AccessLog], notes: list[str]) -> None:
    if not directive.arguments:
        raise ConfigurationError(f"{directive.place}: access_log needs a path")
    path, *options = directive.arguments
    if path.startswith("syslog:"):
        notes.append(f"{directive.place}: {path} goes to syslog, not to a file that could be followed")
        return
    if any(re.fullmatch(r"gzip(?:=\d+)?", option) for option in options[1:]):
        notes.append(f"{directive.place}: {path} is written compressed (gzip); such a file cannot be followed")
        return
    logs.append(AccessLog(os.path.normpath(path), options[0] if options else _DEFAULT_FORMAT, directive.place))
