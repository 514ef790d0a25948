"""The access log that every contender gets: the same one for the same number of lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

CLIENT_COUNT = 20_000
COMMON_PATH_COUNT = 500
LINES_PER_SECOND_OF_THE_LOG = 400

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari",
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (compatible; examplebot/2.1; +http://bot.example/about.html)",
)
_REFERRERS = (
    "-",
    "https://shop.example/catalogue/winter/shoes/boots.html?page=2",
    "https://search.example/results?q=winter+shoes&page=2&source=web&region=north",
)
_STATUSES = (200, 200, 200, 200, 200, 200, 304, 404, 301, 500)


def access_log_lines(count: int) -> Iterator[str]:
    """Combined lines of about 247 bytes: 20,000 clients of whom few come often, every second path a new one."""
    choose = random.Random(20150517)
    clients = [".".join(str(choose.randrange(1, 255)) for _ in range(4)) for _ in range(CLIENT_COUNT)]
    for number in range(count):
        client = clients[int(CLIENT_COUNT * choose.random() ** 2)]
        seconds = number // LINES_PER_SECOND_OF_THE_LOG
        hour, minute, second = seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
        common = f"/catalogue/page-{choose.randrange(COMMON_PATH_COUNT)}.html"
        target = f"/shop/items/{number:07d}?session={choose.getrandbits(32):08x}" if number % 2 else common
        yield (
            f"{client} - - [17/May/2025:{hour:02d}:{minute:02d}:{second:02d} +0000] "
            f'"GET {target} HTTP/1.1" '
            f"{choose.choice(_STATUSES)} {choose.randrange(200, 90_000)} "
            f'"{choose.choice(_REFERRERS)}" "{choose.choice(_AGENTS)}"\n'
        )


def write_access_log(path: Path, count: int) -> None:
    """Write the log of `count` lines."""
    with path.open("w") as file:
        file.writelines(access_log_lines(count))
