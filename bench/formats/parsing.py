"""The parser in one log format after the other, over the same requests."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contender import Figures
from bench.errors import BenchmarkFailed
from bench.stage import Stage
from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, CompiledFormat, LogFormat, format_of_setting

CHUNK_BYTES = 1024 * 1024

_COMBINED = re.compile(
    r"(?P<remote_addr>\S+) - (?P<remote_user>\S+) \[(?P<time_local>[^]]+)\] "
    r'"(?P<request>[^"]*)" (?P<status>\d+) (?P<body_bytes_sent>\d+) '
    r'"(?P<http_referer>[^"]*)" "(?P<http_user_agent>[^"]*)"'
)
_VARIABLE = re.compile(r"\$(\w+)")
# What a combined line does not tell; times differ from line to line.
_OTHERS = {
    "host": "shop.example",
    "request_length": "512",
    "request_id": "5f3c1a9be07d4c2f8a6b1e0d9c7f4a35",
    "upstream_addr": "10.0.0.1:8080",
    "upstream_status": "200",
    "http_x_forwarded_for": "-",
    "ssl_protocol": "TLSv1.3",
    "server_name": "shop.example",
}

SAME = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
LONG = (
    SAME + ' "$http_x_forwarded_for" host=$host sn="$server_name" len=$request_length id=$request_id tls=$ssl_protocol '
    'rt=$request_time ua="$upstream_addr" '
    'us="$upstream_status" ut="$upstream_response_time" uc="$upstream_connect_time"'
)
JSON = (
    'escape=json {"time":"$time_local","client":"$remote_addr","user":"$remote_user","request":"$request",'
    '"status":$status,"bytes":$body_bytes_sent,"referrer":"$http_referer","agent":"$http_user_agent",'
    '"host":"$host","seconds":$request_time}'
)


@dataclass
class FormatContender:
    """One format. Its log is made before the clock runs."""

    name: str
    setting: str
    _data: dict[int, bytes] = field(default_factory=dict)

    def run(self, stage: Stage, size: int) -> Figures:
        """Parse `size` lines. Raises BenchmarkFailed when one of them is no record."""
        log_format = format_of_setting(self.setting)
        if size not in self._data:
            self._data[size] = self._rewritten(stage.log(size).read_text().splitlines())
        data = self._data[size]
        chunks = _chunks(data)
        parser = ChunkParser(lambda _path: log_format, "web-1")
        started_s = time.process_time()
        count = sum(len(parser.parse(chunk).values) for chunk in chunks)
        cpu_s = time.process_time() - started_s
        if count != size:
            raise BenchmarkFailed(f"{self.name}: {size} lines became {count} records")
        return {
            "cpu_us": cpu_s / size * 1e6,
            "cpu_ns_per_byte": cpu_s / len(data) * 1e9,
            "fast_percent": _fast_count(log_format, data) / size * 100,
            "line_bytes": len(data) / size,
        }

    def _rewritten(self, lines: Sequence[str]) -> bytes:
        """The lines in the contender's format."""
        if self.setting in set(LogFormat):
            return "".join(line + "\n" for line in lines).encode()
        text = re.sub(r"^escape=\w+ ", "", self.setting)
        return "".join(_written(text, line, number) + "\n" for number, line in enumerate(lines)).encode()


def _written(text: str, line: str, number: int) -> str:
    found = _COMBINED.fullmatch(line)
    assert found is not None, line
    seconds = f"{number * 37 % 2000 / 1000:.3f}"
    times = dict.fromkeys(("request_time", "upstream_response_time", "upstream_connect_time"), seconds)
    values = {**_OTHERS, **times, **found.groupdict()}
    return _VARIABLE.sub(lambda variable: values[variable[1]], text)


def _chunks(data: bytes) -> list[Chunk]:
    """As the follower would read them."""
    file = FileIdentity("/var/log/nginx/access.log", 0, 0, "bench", 0, "")
    chunks = []
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + CHUNK_BYTES) + 1
        chunks.append(Chunk(file, start, end, data[start:end]))
        start = end
    return chunks


def _fast_count(log_format: CompiledFormat, data: bytes) -> int:
    return sum(1 for _match in log_format.fast.pattern.finditer(data))


FORMATS = (
    FormatContender("combined, built in", LogFormat.COMBINED),
    FormatContender("combined, from its log_format", SAME),
    FormatContender("auto", LogFormat.AUTO),
    FormatContender("18 variables", LONG),
    FormatContender("JSON, 10 variables", JSON),
)
