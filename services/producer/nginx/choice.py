"""The format of each followed file: what nginx's configuration says, else LOG_FORMAT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from services.producer.nginx.access_logs import AccessLogs, FormatDefinition, find_access_logs
from services.producer.nginx.files import load_directives
from services.producer.nginx.syntax import ConfigurationError
from services.producer.parse import FORMATS, CompiledFormat, Escape, FormatRefused, LogFormat, compile_format


@dataclass(frozen=True, slots=True)
class ChosenFormat:
    """A format and, for a person, why. `is_doubtful` when the configuration has no usable answer for the file."""

    format: CompiledFormat
    reason: str
    is_doubtful: bool = False


class FormatChoice:
    """Answers from the configuration as it was read; a change of it needs a restart."""

    def __init__(self, fallback: CompiledFormat, access_logs: AccessLogs | None = None) -> None:
        self._fallback = fallback
        self._access_logs = access_logs or AccessLogs({}, ())
        self._asks_nginx = access_logs is not None
        self._compiled: dict[str, CompiledFormat | FormatRefused] = {}

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of the configuration."""
        return self._access_logs.notes

    def of_file(self, path: str) -> ChosenFormat:
        """The format of the file that is followed under this path."""
        if not self._asks_nginx:
            return ChosenFormat(self._fallback, "LOG_FORMAT")
        logs = [log for log in self._access_logs.logs if log.is_written_to(path)]
        # A literal path says more than one with variables in it.
        logs = [log for log in logs if not log.has_variables] or logs
        by_name = {log.format_name: log for log in logs}
        if len(by_name) > 1:
            named = " and ".join(f"{name} ({log.place})" for name, log in sorted(by_name.items()))
            return ChosenFormat(self._fallback, f"LOG_FORMAT: nginx writes it in several formats, {named}", True)
        if not by_name:
            return ChosenFormat(self._fallback, "LOG_FORMAT: no access_log of nginx names the file", True)
        [(name, log)] = by_name.items()
        compiled = self._format(name)
        if isinstance(compiled, FormatRefused):
            return ChosenFormat(self._fallback, f"LOG_FORMAT: {self._refusal(name, compiled)}", True)
        return ChosenFormat(compiled, f"access_log {log.path} {name} ({log.place})")

    def require_usable(self, patterns: Sequence[str]) -> None:
        """Raises ConfigurationError when a log that the patterns follow has a format that cannot be parsed."""
        for log in self._access_logs.logs:
            compiled = self._format(log.format_name)
            if isinstance(compiled, FormatRefused) and any(fnmatchcase(log.path, pattern) for pattern in patterns):
                raise ConfigurationError(self._refusal(log.format_name, compiled))

    def _format(self, name: str) -> CompiledFormat | FormatRefused:
        if name not in self._compiled:
            self._compiled[name] = _compile(self._access_logs.formats.get(name))
        return self._compiled[name]

    def _refusal(self, name: str, refused: FormatRefused) -> str:
        return f"{self._access_logs.formats[name].place}: log_format {name}: {refused}"


def _compile(definition: FormatDefinition | None) -> CompiledFormat | FormatRefused:
    """nginx itself defines `combined`."""
    if definition is None:
        return FORMATS[LogFormat.COMBINED]
    try:
        escape = Escape(definition.escape)
    except ValueError:
        return FormatRefused(f"escape={definition.escape} is not known; nginx has {', '.join(Escape)}")
    try:
        return compile_format(definition.text, name=definition.name, escape=escape)
    except FormatRefused as refused:
        return refused


def load_choice(nginx_conf: Path | None, fallback: CompiledFormat, patterns: Sequence[str]) -> FormatChoice:
    """Read the configuration, if there is one. Raises ConfigurationError, which names file and line."""
    if nginx_conf is None:
        return FormatChoice(fallback)
    choice = FormatChoice(fallback, find_access_logs(load_directives(nginx_conf)))
    choice.require_usable(patterns)
    return choice
