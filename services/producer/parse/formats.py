"""Log formats, compiled: the built-in ones by name, and any `log_format` of nginx.

The built-in ones are the stock formats of nginx and httpd, each the former with more quoted fields:

    common    $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent
    combined  … "$http_referer" "$http_user_agent"
    main      … "$http_x_forwarded_for"      (nginx.conf's stock `main`)
    auto      whichever of them the line is
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from services.producer.parse.fast_expression import FastExpression, fast_expression
from services.producer.parse.general_expression import GeneralExpression
from services.producer.parse.loop import FastLoop, make_loop
from services.producer.parse.syntax import Escape, FormatRefused, Syntax, read_format, split_escape
from services.producer.parse.template import UNKNOWN_ADDRESS, RecordTemplate
from services.producer.parse.variables import TIMES, Kind


class LogFormat(StrEnum):
    """The names of the built-in formats."""

    AUTO = "auto"
    COMMON = "common"
    COMBINED = "combined"
    MAIN = "main"


@dataclass(frozen=True)
class CompiledFormat:
    """What the parser needs for the lines of one format. `name` is for a person."""

    name: str
    syntax: Syntax

    @cached_property
    def general(self) -> GeneralExpression:
        return GeneralExpression(self.syntax)

    @cached_property
    def fast(self) -> FastExpression:
        return fast_expression(self.syntax)

    @cached_property
    def time_kind(self) -> Kind:
        """Which of nginx's times gives the record's."""
        return next(each.kind for each in self.general.variables if each.kind in TIMES)

    @cached_property
    def template(self) -> RecordTemplate:
        return RecordTemplate(self.fast.holes, {each.path: each.kind for each in self.general.variables})

    @cached_property
    def loop(self) -> FastLoop:
        return make_loop(self.fast, self.template.codes, UNKNOWN_ADDRESS.encode())


def compile_format(text: str, *, name: str = "", escape: Escape = Escape.DEFAULT) -> CompiledFormat:
    """A `log_format` of nginx. Raises FormatRefused, which says what is wrong and at which column."""
    compiled = CompiledFormat(name or text, read_format(text, escape))
    group_count = compiled.general.pattern.groups  # the expression is made now: it refuses what could be read twice
    assert group_count == len(compiled.general.variables)
    return compiled


def format_of_setting(value: str) -> CompiledFormat:
    """What LOG_FORMAT names: a built-in format, or a format in place, as nginx writes it. Raises FormatRefused."""
    if value in set(LogFormat):
        return FORMATS[LogFormat(value)]
    if "$" not in value:
        raise FormatRefused(f"it is none of {', '.join(LogFormat)}, nor a format of nginx such as '$remote_addr …'")
    escape, text = split_escape(value)
    return compile_format(text, escape=escape)


_COMMON = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
# httpd writes the name that a client's identd gave where nginx has a hyphen.
_COMMON_OF_HTTPD = _COMMON.replace(" - ", " $remote_ident ")
_COMBINED_TAIL = ' "$http_referer" "$http_user_agent"'
_MAIN_TAIL = ' "$http_x_forwarded_for"'


def _built_in(name: LogFormat, text: str, *optional: str) -> CompiledFormat:
    return CompiledFormat(name, read_format(text, optional=optional))


FORMATS: dict[LogFormat, CompiledFormat] = {
    LogFormat.COMMON: _built_in(LogFormat.COMMON, _COMMON_OF_HTTPD),
    LogFormat.COMBINED: _built_in(LogFormat.COMBINED, _COMMON_OF_HTTPD + _COMBINED_TAIL),
    LogFormat.MAIN: _built_in(LogFormat.MAIN, _COMMON_OF_HTTPD + _COMBINED_TAIL + _MAIN_TAIL),
    LogFormat.AUTO: _built_in(LogFormat.AUTO, _COMMON_OF_HTTPD, _COMBINED_TAIL, _MAIN_TAIL),
}
