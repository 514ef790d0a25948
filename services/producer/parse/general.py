"""One line to one record, through the model: every line that the fast way does not take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from services.producer.parse.caches import PARSE_TIME
from services.producer.parse.escape import UNESCAPE, decode
from services.producer.parse.formats import CompiledFormat
from services.producer.parse.syntax import Escape
from services.producer.parse.template import UNKNOWN_ADDRESS, empty_record, put
from services.producer.parse.variables import LISTS, METHOD, PATH, PROTOCOL, QUERY, TIMES, Kind, Path, Variable
from shared.schemas import AccessRecord, DeadLetterReason, Source

_REQUEST = re.compile(rb"([A-Z][A-Z_-]*) ([^?]+?)(?:\?(.*))? (HTTP/\d\.\d)", re.DOTALL)
_NUMBERS: Mapping[Kind, Callable[[bytes], int | float]] = {
    **dict.fromkeys((Kind.STATUS, Kind.STATUSES, Kind.COUNT, Kind.COUNTS), int),
    **dict.fromkeys((Kind.NUMBER, Kind.NUMBERS), float),
}
_BETWEEN_ITEMS = re.compile(rb", | : ")


class LineRejected(Exception):
    """The line is no record; `message` is for a person."""

    def __init__(self, reason: DeadLetterReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def parse_line(line: bytes, log_format: CompiledFormat, source: Source) -> AccessRecord:
    """The record of one line without its newline. Raises LineRejected."""
    match = log_format.general.pattern.fullmatch(line)
    if match is None:
        message = f"the line is not in the log format: {log_format.general.explain(line)}"
        raise LineRejected(DeadLetterReason.UNPARSEABLE_LINE, message)
    values = _Values(log_format.syntax.escape)
    try:
        for variable, raw in zip(log_format.general.variables, match.groups(), strict=True):
            if raw is not None:
                values.add(variable, raw)
        return AccessRecord.model_validate({**values.fields, "escaped_fields": tuple(values.escaped), "source": source})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{where}: {first['msg']}" if where else first["msg"]
        raise LineRejected(DeadLetterReason.INVALID_VALUE, message) from error
    except (ValueError, OverflowError) as error:
        raise LineRejected(DeadLetterReason.INVALID_VALUE, f"time: {error}") from error


class _Values:
    """The fields of one line as they are found, and the names of those whose bytes are no UTF-8."""

    def __init__(self, escape: Escape) -> None:
        self.fields: dict[str, Any] = empty_record()
        self.escaped: list[str] = []
        self._unescape = UNESCAPE[escape]
        self._may_be_empty = escape is Escape.DEFAULT

    def add(self, variable: Variable, raw: bytes) -> None:
        """Raises ValueError or OverflowError for a time that is none."""
        _ADD.get(variable.kind, _Values._add_scalar)(self, variable, raw)

    def _add_scalar(self, variable: Variable, raw: bytes) -> None:
        put(self.fields, variable.path, self._scalar(variable, raw))

    def _add_time(self, variable: Variable, raw: bytes) -> None:
        put(self.fields, variable.path, PARSE_TIME[variable.kind](raw))

    def _add_address(self, variable: Variable, raw: bytes) -> None:
        put(self.fields, variable.path, self._text(variable.path, raw) or UNKNOWN_ADDRESS)

    def _add_list(self, variable: Variable, raw: bytes) -> None:
        items = None if self._is_absent(raw) else _BETWEEN_ITEMS.split(raw)
        put(self.fields, variable.path, items and tuple(self._scalar(variable, item) for item in items))

    def _is_absent(self, raw: bytes) -> bool:
        """nginx writes a hyphen; with `escape=json` and `none`, nothing for a variable that is not set."""
        return raw == b"-" or (not raw and not self._may_be_empty)

    def _scalar(self, variable: Variable, raw: bytes) -> str | int | float | None:
        if self._is_absent(raw):
            return None
        convert = _NUMBERS.get(variable.kind)
        return convert(raw) if convert else self._text(variable.path, raw)

    def _text(self, path: Path, raw: bytes) -> str | None:
        """The text as the client sent it; None for an absent one."""
        return None if self._is_absent(raw) else self._decode(path, self._unescape(raw))

    def _decode(self, path: Path, sent: bytes) -> str:
        text, escaped = decode(sent)
        if escaped and (name := ".".join(path)) not in self.escaped:
            self.escaped.append(name)
        return text

    def _add_request(self, _variable: Variable, raw: bytes) -> None:
        """`method`, `path`, `query` and `protocol`, or `request` alone when it is not of that form."""
        match = _REQUEST.fullmatch(self._unescape(raw))
        if match is None:
            put(self.fields, ("request",), self._text(("request",), raw))
            return
        for path, sent in zip((METHOD, PATH, QUERY, PROTOCOL), match.groups(), strict=True):
            put(self.fields, path, None if sent is None else self._decode(path, sent))

    def _add_target(self, _variable: Variable, raw: bytes) -> None:
        if self._is_absent(raw):
            return
        path, mark, query = self._unescape(raw).partition(b"?")
        put(self.fields, PATH, self._decode(PATH, path))
        put(self.fields, QUERY, self._decode(QUERY, query) if mark else None)


_ADD: Mapping[Kind, Callable[[_Values, Variable, bytes], None]] = {
    **dict.fromkeys(TIMES, _Values._add_time),
    **dict.fromkeys(LISTS, _Values._add_list),
    Kind.ADDRESS: _Values._add_address,
    Kind.REQUEST: _Values._add_request,
    Kind.TARGET: _Values._add_target,
}
