"""Posting an alarm. The address may hold a secret: neither it nor an error that could hold it is ever shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.alerts.engine import Alarm
from shared.errors import InvalidSettings

TIMEOUT_S = 10.0
# Of these the content of the alarm is to blame; all others are about the address, the rights or the time.
REFUSALS = frozenset({400, 413, 415, 422})


class Verdict(Enum):
    """What an answer means for the alarm."""

    DELIVERED = auto()
    REFUSED = auto()
    AWAY = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt, in words that hold nothing secret."""

    verdict: Verdict
    because: str


def verdict_of(status: int) -> Verdict:
    """2xx is delivered. What blames the alarm is refused; all else may change when somebody mends it."""
    if 200 <= status <= 299:
        return Verdict.DELIVERED
    return Verdict.REFUSED if status in REFUSALS else Verdict.AWAY


def body_of(alarm: Alarm, group: str, topic: str) -> bytes:
    """The JSON that is posted."""
    return orjson.dumps({"group": group, "topic": topic, **fields_of(alarm)})


def fields_of(alarm: Alarm) -> dict[str, object]:
    """The alarm as the log and the webhook show it; times are ISO 8601 in UTC."""
    fields = asdict(alarm)
    start_ms, end_ms = fields.pop("window_start_ms"), fields.pop("window_end_ms")
    return {**fields, "client": alarm.client or None, "window_start": _iso(start_ms), "window_end": _iso(end_ms)}


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def webhook_url(settings: ConsumerSettings) -> str | None:
    """The address to post to, from the variable or from the file. Raises InvalidSettings, without the address."""
    name, url = "ALERTS_WEBHOOK_URL", None
    if settings.alerts_webhook_url is not None:
        url = settings.alerts_webhook_url.get_secret_value()
    elif settings.alerts_webhook_url_file is not None:
        name = f"ALERTS_WEBHOOK_URL_FILE={settings.alerts_webhook_url_file}"
        url = _read(settings.alerts_webhook_url_file)
    if url is not None and not _is_address(url):
        raise InvalidSettings(f"{name} holds no address that begins with http:// or https://. (It is not shown.)")
    return url


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        because = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidSettings(f"ALERTS_WEBHOOK_URL_FILE={path} cannot be read: {because}.") from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_none_or_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_none_or_number and url.isprintable()


class Webhook:
    """A client for one address. Needs a running event loop."""

    def __init__(self, url: str, group: str, topic: str) -> None:
        self._url = url
        self._place = (group, topic)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def post(self, alarm: Alarm) -> Answer:
        """One attempt. A redirect is not followed: the secret is for the address that was given."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": alarm.id}
        body = body_of(alarm, *self._place)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return Answer(verdict_of(answer.status), f"the webhook answers {answer.status}")
        except TimeoutError:
            return Answer(Verdict.AWAY, f"the webhook does not answer within {TIMEOUT_S:g} s")
        except (aiohttp.ClientError, OSError) as error:
            reason = getattr(error, "strerror", None)
            return Answer(Verdict.AWAY, f"the webhook cannot be reached: {reason or type(error).__name__}")

    async def close(self) -> None:
        await self._session.close()
