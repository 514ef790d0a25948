"""What the demo's visitors ask for. Pure: a seed gives the same traffic every time.

The mixture is that of a small public site: mostly pages and assets, some errors, and the odd things that every server
on the internet sees: other alphabets, raw bytes in paths, scanners, TLS on a plain port, requests without a protocol.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Visit:
    """One well-formed request and the answer that the demo site gives to it."""

    client_address: str
    method: str
    target: bytes
    """Path and query as they go over the wire; not always ASCII."""
    status: int
    body_bytes: int
    referrer: str | None
    user_agent: str | None
    forwarded_for: str | None

    @property
    def request_line(self) -> bytes:
        return self.method.encode() + b" " + self.target + b" HTTP/1.1"


class OddKind(StrEnum):
    """Requests that are none, as a server's log shows them."""

    NOTHING = "nothing"
    TLS_HELLO = "tls_hello"
    NO_PROTOCOL = "no_protocol"
    BROKEN_LINE = "broken_line"


@dataclass(frozen=True, slots=True)
class OddVisit:
    """Bytes on a fresh connection instead of a request."""

    client_address: str
    kind: OddKind
    sent: bytes
    request_line: bytes
    """What nginx logs as the request."""
    status: int


@dataclass(frozen=True, slots=True)
class _Page:
    weight: int
    method: str
    target: str
    status: int
    body_bytes: int


_PAGES = (
    _Page(160, "GET", "/", 200, 19),
    _Page(140, "GET", "/articles/{number}", 200, 19),
    _Page(30, "GET", "/articles/{number}?utm_source=newsletter&utm_medium=email", 200, 19),
    _Page(120, "GET", "/static/site.{number}.css", 200, 23),
    _Page(90, "GET", "/static/site.{number}.css", 304, 0),
    _Page(40, "GET", "/search?q={word}&page={small}", 200, 21),
    _Page(30, "GET", "/api/items?limit={small}0&after={number}", 200, 3),
    _Page(15, "POST", "/api/items", 200, 3),
    _Page(12, "POST", "/login", 302, 138),
    _Page(15, "GET", "/old", 301, 162),
    _Page(20, "HEAD", "/", 200, 0),
    _Page(12, "GET", "/private/report-{small}.pdf", 403, 146),
    _Page(35, "GET", "/missing/{number}.html", 404, 146),
    _Page(15, "GET", "/wp-login.php", 404, 146),
    _Page(6, "GET", "/.env", 404, 146),
    _Page(8, "DELETE", "/api/items/{number}", 405, 150),
    _Page(6, "GET", "/api/broken", 500, 170),
    _Page(4, "GET", "/api/upstream", 502, 150),
    _Page(6, "GET", "/api/busy", 503, 190),
    # Other alphabets, percent-encoded as browsers send them and as raw bytes as some programs do.
    _Page(12, "GET", "/articles/%C3%BCber-uns", 200, 19),
    _Page(8, "GET", "/articles/%E6%97%A5%E6%9C%AC%E8%AA%9E?q=%F0%9F%90%99", 200, 19),
    _Page(8, "GET", "/articles/\u043f\u0440\u0438\u0432\u0435\u0442", 200, 19),
    _Page(6, "GET", "/search?q=caf\u00e9+cr\u00e8me&lang=fr", 200, 21),
    _Page(4, "GET", '/search?q="quoted"&path=C:\\temp', 200, 21),
)
_PAGE_WEIGHTS = [page.weight for page in _PAGES]
# No UTF-8: a path of a Latin-1 program. It has to stay visible and reversible in the records.
_LATIN_1_TARGET = b"/articles/stra\xdfe"

_WORDS = ("kafka", "nginx+access+log", "consumer%20group", "offset", "caf%C3%A9", "%D0%BB%D0%BE%D0%B3")

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5",
    "demo-monitor/1.2 (+http://status.example/about)",
    "ExampleBot/3.1 (crawler; \u00fcber 1\u202f000 Seiten)",
    'quoted "agent" \\ 1.0',
    "curl/8.14.1",
    None,
)

_REFERRERS = (
    None,
    None,
    None,
    "http://demo.example/",
    "http://demo.example/articles/7",
    "https://search.example/?q=kafka+nginx",
    "https://example.org/liste?tri=\u00e9t\u00e9",
)

_NETWORKS = ("192.0.2.{}", "198.51.100.{}", "203.0.113.{}", "2001:db8::{:x}")

_TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"

_ODD_VISITS = (
    (OddKind.NOTHING, b"", b"", 400),
    (OddKind.TLS_HELLO, _TLS_HELLO + b"\x01\xfc\x03\x03\xe2\x91\r\n", _TLS_HELLO, 400),
    (OddKind.NO_PROTOCOL, b"GET /old-client\r\n", b"GET /old-client", 404),
    (OddKind.BROKEN_LINE, b"HELO mail.example\r\n\r\n", b"HELO mail.example", 400),
)
_ODD_SHARE = 0.02
_LATIN_1_SHARE = 0.005
_CLIENTS = 64


def make_traffic(seed: int) -> Iterator[Visit | OddVisit]:
    """An endless row of requests; the same one for the same seed."""
    choose = random.Random(seed)  # noqa: S311 - traffic, not a secret
    while True:
        chance = choose.random()
        yield _make_odd_visit(choose) if chance < _ODD_SHARE else _make_visit(choose, chance)


def _make_visit(choose: random.Random, chance: float) -> Visit:
    page = choose.choices(_PAGES, _PAGE_WEIGHTS)[0]
    if chance < _ODD_SHARE + _LATIN_1_SHARE:
        page, target = _PAGES[1], _LATIN_1_TARGET
    else:
        target = _fill_in(page.target, choose)
    client_address = _choose_client(choose)
    behind_proxy = choose.random() < 0.2
    return Visit(
        client_address=client_address,
        method=page.method,
        target=target,
        status=page.status,
        body_bytes=page.body_bytes,
        referrer=choose.choice(_REFERRERS),
        user_agent=choose.choice(_AGENTS),
        forwarded_for=f"{_choose_client(choose)}, 10.0.0.{choose.randrange(2, 9)}" if behind_proxy else None,
    )


def _make_odd_visit(choose: random.Random) -> OddVisit:
    kind, sent, request_line, status = choose.choice(_ODD_VISITS)
    return OddVisit(_choose_client(choose), kind, sent, request_line, status)


def _fill_in(template: str, choose: random.Random) -> bytes:
    values = {"number": choose.randrange(1, 100), "small": choose.randrange(1, 10), "word": choose.choice(_WORDS)}
    return template.format(**values).encode()


def _choose_client(choose: random.Random) -> str:
    """A few clients come often and many seldom, out of the address ranges that are set aside for examples."""
    number = min(int(choose.expovariate(1 / 12)), _CLIENTS - 1)
    return _NETWORKS[number % len(_NETWORKS)].format(number + 1)
