"""Random log formats, and lines of them as nginx would write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from services.producer.parse import Escape

# For each kind of variable: names, and values as nginx has them before it escapes.
TEXTS = ("remote_user", "http_referer", "http_user_agent", "http_accept", "cookie_session", "sent_http_etag", "mine")
WORDS = ("host", "scheme", "request_id", "ssl_protocol", "server_name", "pipe", "hostname")
COUNTS = ("body_bytes_sent", "bytes_sent", "request_length", "connection", "remote_port")
NUMBERS = ("request_time", "gzip_ratio")
LISTS = {
    "upstream_addr": ("10.0.0.1:80", "unix:/run/app.sock", "-", "[::1]:8080"),
    "upstream_status": ("200", "502", "000", "-"),
    "upstream_response_time": ("0.000", "1.250", "12.345", "-"),
    "upstream_bytes_received": ("0", "123", "-"),
}
REQUESTS = (
    b"GET /a?b=c HTTP/1.1",
    b"GET / HTTP/2.0",
    b"",
    b"\x16\x03",
    b"POST /x|y;z,w?[ HTTP/1.1",
    b"GET 200 HTTP/1.0",
)
SEPARATORS = (
    *(" ", '" "', '"|"', "|", "\t", " [", "] ", ";", ", ", " : ", '","b":"'),
    *(" x=", ":", "://", "/", "0", " H", ",", " :", ": ", "-"),
)


def _values(name: str, escape: Escape) -> st.SearchStrategy[bytes]:
    absent = b"-" if escape is Escape.DEFAULT else b""
    hostile = st.sampled_from(
        [b"", b"-", b'"', b"\\", b"|", b" ", b", ", b" : ", b": ", b"200", b'" "', b"%b", b"\xff", b"\t", b"://"]
    )
    if name in LISTS:
        items = st.lists(st.sampled_from(LISTS[name]), min_size=1, max_size=3)
        whole = st.tuples(items, st.sampled_from([", ", " : "])).map(lambda both: both[1].join(both[0]).encode())
        return whole | st.just(absent)
    fixed = {
        "status": (b"200", b"404", b"000"),
        "time_local": (b"17/May/2015:10:05:03 +0000", b"31/Feb/2015:10:05:03 +0000", b"17/May/2015:10:05:03 -0730"),
        "time_iso8601": (b"2015-05-17T10:05:03+02:00", b"2015-02-31T10:05:03+02:00"),
        "msec": (b"1431857103.000", b"1431857103.120"),
        "remote_addr": (b"192.0.2.7", b"2001:db8::20", b"unix:"),
        "request": REQUESTS,
        "request_uri": (b"/a?b", b"/", b"/?", b"*", b"/a?b?c:d/e", b"http://x/"),
        "request_method": (b"GET", b"PROPFIND"),
        **dict.fromkeys(COUNTS, (b"0", b"17", b"-", b"007", absent)),
        **dict.fromkeys(NUMBERS, (b"0.000", b"0.120", b"3.25", b"-", absent)),
        **dict.fromkeys(WORDS, (b"a.example", b"-", b"TLSv1.3", b"a|b;c", b"a:b,c", b"", b"p")),
    }
    if name in fixed:
        return st.sampled_from(fixed[name])
    plain = st.sampled_from([b"Mozilla/5.0 (X11)", b"", b"-", b"a", b"/x?y"])
    # No header can hold a line break.
    any_bytes = st.binary(max_size=6).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))
    return st.one_of(plain, st.lists(hostile | plain, max_size=3).map(b"".join), any_bytes)


def written(value: bytes, escape: Escape) -> bytes:
    """A value as nginx writes it."""
    if escape is Escape.NONE:
        return value
    if escape is Escape.JSON:
        short = {b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t", b"\b": rb"\b", b"\f": rb"\f", b'"': rb"\"", b"\\": rb"\\"}
        pieces = (bytes((byte,)) for byte in value)
        return b"".join(short.get(piece, piece if piece >= b" " else rb"\u%04X" % piece[0]) for piece in pieces)
    return b"".join(
        rb"\x%02X" % byte if byte in b'"\\' or not 0x20 <= byte < 0x7F else bytes((byte,)) for byte in value
    )


@dataclass(frozen=True)
class Case:
    """A format, and lines that nginx may have written in it."""

    escape: Escape
    text: str
    lines: tuple[bytes, ...]
    sent: tuple[Mapping[str, bytes], ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Variables in any order, parted by literals that hurt."""
    escape = draw(st.sampled_from(Escape))
    every = (*TEXTS, *WORDS, *COUNTS, *NUMBERS, *LISTS, "remote_addr", "request", "request_uri", "request_method")
    chosen = draw(st.lists(st.sampled_from(every), max_size=5))
    times = draw(st.lists(st.sampled_from(["time_local", "time_iso8601", "msec"]), min_size=1, max_size=2))
    names = draw(st.permutations([*chosen, *times, "status"]))
    separator = st.sampled_from(SEPARATORS)
    literals = [draw(st.sampled_from(["", '"', "["])), *(draw(separator) for _name in names[1:])]
    literals.append(draw(st.sampled_from(["", '"', "]", "}"])))
    text = literals[0] + "".join(f"${{{name}}}{after}" for name, after in zip(names, literals[1:], strict=True))
    sent = [{name: draw(_values(name, escape)) for name in names} for _line in range(draw(st.integers(1, 3)))]
    lines = []
    for values in sent:
        line = literals[0].encode()
        for name, after in zip(names, literals[1:], strict=True):
            line += written(values[name], escape) + after.encode()
        lines.append(line)
    return Case(escape, text, tuple(lines), tuple(sent))
