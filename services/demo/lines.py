"""A request as a line of nginx's access log. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from services.demo.traffic import OddVisit, Visit

# English whatever the locale: nginx asks none either.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ERROR_BODY_BYTES = 150


class Form(StrEnum):
    """The two formats that nginx.conf comes with."""

    COMBINED = "combined"
    MAIN = "main"


def render_line(visit: Visit | OddVisit, time: datetime, form: Form) -> bytes:
    """The line that nginx would write, with its newline. `time` has a zone."""
    body_bytes, referrer, user_agent, forwarded_for = _rest_of(visit)
    line = (
        f"{visit.client_address} - - [{_render_time(time)}] "
        f'"{escape(visit.request_line)}" {visit.status} {body_bytes} {_quote(referrer)} {_quote(user_agent)}'
    )
    if form is Form.MAIN:
        line += f" {_quote(forwarded_for)}"
    return line.encode("ascii") + b"\n"


def _rest_of(visit: Visit | OddVisit) -> tuple[int, str | None, str | None, str | None]:
    if isinstance(visit, OddVisit):
        return _ERROR_BODY_BYTES, None, None, None
    return visit.body_bytes, visit.referrer, visit.user_agent, visit.forwarded_for


def escape(value: bytes) -> str:
    r"""nginx's escaping: `"`, `\` and all that is not printable ASCII become `\xHH`."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02X}" for byte in value)


def _quote(value: str | None) -> str:
    return '"-"' if value is None else f'"{escape(value.encode())}"'


def _render_time(time: datetime) -> str:
    return f"{time.day:02}/{_MONTHS[time.month - 1]}/{time:%Y:%H:%M:%S %z}"
