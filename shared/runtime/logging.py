"""The services' own log: one JSON object a line on stdout, or text for people on a terminal.

Every line has `timestamp` (ISO 8601, UTC), `level`, `event`, `service` and `client_id`. Foreign loggers go the same
way, and the Kafka client's repeated complaints are thinned out.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, cast

import orjson
import structlog

from shared.runtime.settings import ServiceSettings
from shared.schemas.terminal import escape_terminal_controls

Logger = structlog.typing.FilteringBoundLogger

_STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
REPEAT_INTERVAL_S = 60.0
MAX_FOREIGN_MESSAGE_CHARACTERS = 2_000


def configure_logging(settings: ServiceSettings) -> None:
    """Set up structlog and the standard library's loggers for this process."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    console = settings.log_renderer == "console" or (settings.log_renderer == "auto" and sys.stdout.isatty())
    identity = {"service": settings.service_name, "client_id": settings.client_id}
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = _ConsoleRenderer() if console else _render_json
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory()
        if console
        else structlog.BytesLoggerFactory(cast("BinaryIO", _UnbreakableOutput(sys.stdout.buffer))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**identity)
    _route_foreign_loggers(max(level, logging.WARNING), identity, common, renderer)


class _UnbreakableOutput:
    """Standard output whose reader may go away: a log line that nobody can read must not keep a service from draining.

    The records of the stdout sink do not come this way: for them a failing output is a failing sink.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, line: bytes) -> int:
        with suppress(OSError):
            return self._output.write(line)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            self._output.flush()


def get_logger() -> Logger:
    """A logger whose events are listed in docs/events.md."""
    logger: Logger = structlog.get_logger()
    return logger


def _render_json(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:
    return escape_terminal_controls(orjson.dumps(event, default=repr))


class _ConsoleRenderer(structlog.dev.ConsoleRenderer):
    """Text for people, in which no value of an event can steer the terminal: names of files are anybody's choice."""

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        return super().__call__(logger, method, {name: _harmless(value) for name, value in event.items()})


def _harmless(value: Any) -> Any:
    return _STEERING.sub(lambda match: f"\\x{ord(match[0]):02x}", value) if isinstance(value, str) else value


def _route_foreign_loggers(
    level: int,
    identity: dict[str, str],
    common: list[structlog.typing.Processor],
    renderer: structlog.typing.Processor,
) -> None:
    """Send what libraries log through the same processors. They say too little and too much below a warning."""

    def add_identity(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **identity, "event": "library_message", "message": event["event"]}

    def as_text(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        rendered = renderer(logger, method, event)
        return rendered.decode() if isinstance(rendered, bytes) else str(rendered)

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common, add_identity],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, as_text],
        )
    )
    handler.addFilter(ThinOut(REPEAT_INTERVAL_S, time.monotonic))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


class ThinOut(logging.Filter):
    """Let the same message of the same logger through once per interval, with the count of those held back.

    A Kafka client without a broker logs thousands of lines. Kept per (logger, unformatted message), so the memory is
    bounded by the number of log statements in the libraries.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, str(record.msg)[:200])
        now = self._clock()
        shown_at, held_back = self._last.get(key, (float("-inf"), 0))
        if now - shown_at < self._interval_s:
            self._last[key] = (shown_at, held_back + 1)
            return False
        self._last[key] = (now, 0)
        message = record.getMessage()[:MAX_FOREIGN_MESSAGE_CHARACTERS]
        record.msg = f"{message} (and {held_back} more like it)" if held_back else message
        record.args = None
        return True
