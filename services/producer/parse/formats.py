"""The table of log formats: what each one's fast and general expressions accept.

A format is the three stock ones of nginx and httpd, each the former with more quoted fields:

    common    $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent
    combined  … "$http_referer" "$http_user_agent"
    main      … "$http_x_forwarded_for"      (nginx.conf's stock `main`)
    auto      whichever of them the line is
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# A byte that stands in JSON as it is: printable ASCII but the quote and the backslash. With and without the space.
_PLAIN = rb"[ !#-\[\]-~]"
_SOLID = rb"[!#-\[\]-~]"
_BEFORE_QUERY = rb"[!#->@-\[\]-~]"

_FAST_HEAD = (
    rb"^(" + _SOLID + rb"+) - (?:-|(" + _SOLID + rb"+)) "
    rb"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rb'"([A-Z]+) (' + _BEFORE_QUERY + rb"+)(?:\?(" + _SOLID + rb'*))? (HTTP/\d\.\d)" '
    rb"([1-9]\d\d) (?:-|(0|[1-9]\d{0,17}))"
)
_FAST_QUOTED = rb' (?:"-"|("' + _PLAIN + rb'*"))'

# Quantifiers that never give back (`++`) and bounded ones keep a hostile line linear.
_GENERAL_HEAD = (
    rb"(\S{1,4096}) \S{1,4096} (.{1,4096}?) \[([^\]]{1,64})\] "
    rb'"((?:[^"\\]++|\\.)*+)" '
    rb"(\d{3}) (\d{1,18}|-)"
)
_GENERAL_QUOTED = rb' "((?:[^"\\]++|\\.)*+)"'


class LogFormat(StrEnum):
    """The names that LOG_FORMAT takes."""

    AUTO = "auto"
    COMMON = "common"
    COMBINED = "combined"
    MAIN = "main"


@dataclass(frozen=True)
class FormatExpressions:
    """`fast` is for `finditer` over a chunk, `general` for `fullmatch` of one line without its newline.

    The groups of `fast`: address, user, time, method, path, query, protocol, status, size, then referrer, agent and
    forwarded-for with their quotes; a group whose field is `-` or missing takes no part. Those of `general`: address,
    user, time, request, status, size, then the quoted fields without their quotes.
    """

    fast: re.Pattern[bytes]
    general: re.Pattern[bytes]


def _expressions(fast_tail: bytes, general_tail: bytes) -> FormatExpressions:
    return FormatExpressions(
        re.compile(_FAST_HEAD + fast_tail + rb"\n", re.MULTILINE),
        re.compile(_GENERAL_HEAD + general_tail, re.DOTALL),
    )


_ABSENT = rb"()??"  # a group that never takes part, so that every format has the same groups
_F, _G = _FAST_QUOTED, _GENERAL_QUOTED

FORMATS: dict[LogFormat, FormatExpressions] = {
    LogFormat.COMMON: _expressions(_ABSENT * 3, _ABSENT * 3),
    LogFormat.COMBINED: _expressions(_F * 2 + _ABSENT, _G * 2 + _ABSENT),
    LogFormat.MAIN: _expressions(_F * 3, _G * 3),
    LogFormat.AUTO: _expressions(
        rb"(?:" + _F * 2 + rb"(?:" + _F + rb")?)?", rb"(?:" + _G * 2 + rb"(?:" + _G + rb")?)?"
    ),
}
