"""Lines to records: what nginx writes, what clients send, and that both ways of parsing agree to the byte."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.producer.chunk import Chunk, ChunkKind
from services.producer.parse import FORMATS, ChunkParser, LogFormat, parser, reject_oversized
from services.producer.parse.escape import decode, restore, unescape
from shared.schemas import AccessRecord, DeadLetterReason
from tests.unit.producer.lines import COMBINED, FILE, chunk_of, parse, parse_one, without_fast_way


def request_line(request: bytes) -> bytes:
    return COMBINED.replace(b"GET /a?b=c HTTP/1.1", request)


def test_a_combined_line_becomes_a_typed_record() -> None:
    """Every field, with its type and its place in the file."""
    parsed = parse(b"", COMBINED)
    record = AccessRecord.model_validate_json(parsed.values[0])
    assert record.time == datetime(2015, 5, 17, 10, 5, 3, tzinfo=timezone.utc)  # noqa: UP017
    assert (record.client_address, record.remote_user) == ("192.0.2.7", None)
    assert (record.method, record.path, record.query, record.protocol) == ("GET", "/a", "b=c", "HTTP/1.1")
    assert (record.status, record.body_bytes) == (200, 512)
    assert (record.referrer, record.user_agent) == ("https://example.org/", "Mozilla/5.0")
    assert (record.forwarded_for, record.request, record.escaped_fields) == (None, None, ())
    assert record.source.model_dump() == {
        "host": "web-1",
        "file": "/var/log/nginx/access.log",
        "generation": "2-feed",
        "offset": 1,
        "length": len(COMBINED),
    }
    assert parsed.blank_line_count == 1
    assert parsed.addresses == [b"192.0.2.7"]
    assert parsed.offsets == [1]


def test_the_three_stock_formats_are_told_apart_by_the_line() -> None:
    """`auto` takes common, combined and main; a named format takes only its own lines."""
    common = COMBINED[: COMBINED.index(b' "https')]
    main = COMBINED + b' "198.51.100.3, 10.0.0.1"'
    assert parse_one(common).user_agent is None
    assert parse_one(main).forwarded_for == "198.51.100.3, 10.0.0.1"
    lines = {LogFormat.COMMON: common, LogFormat.COMBINED: COMBINED, LogFormat.MAIN: main}
    for name, line in lines.items():
        for other in lines:
            assert bool(parse(line, log_format=other).rejects) == (other is not name)
        assert parse(line).values == parse(line, log_format=name).values


@pytest.mark.parametrize(
    ("escaped", "sent"),
    [
        (rb"/\xC3\xBCber", "/über"),
        (rb"/a\x22b\x5Cc", '/a"b\\c'),
        (rb"/tab\x09nul\x00", "/tab\tnul\0"),
        (rb"/\xF0\x9F\x90\x98", "/🐘"),
        (rb"/%C3%BC", "/%C3%BC"),
        (rb"/apache\"s", '/apache"s'),
    ],
)
def test_fields_are_what_the_client_sent(escaped: bytes, sent: str) -> None:
    """nginx's escapes are undone and the bytes read as UTF-8; percent signs are the client's own."""
    record = parse_one(request_line(b"GET " + escaped + b" HTTP/1.1"))
    assert record.path == sent
    assert record.escaped_fields == ()


def test_bytes_that_are_no_utf8_stay_visible_and_reversible() -> None:
    r"""`\xFF` is no UTF-8: it is shown as an escape, and the field is named."""
    record = parse_one(request_line(rb"GET /\xFF\x5Cx HTTP/1.1"))
    assert record.path == r"/\xff\x5Cx"
    assert record.escaped_fields == ("path",)
    assert restore(record.path, escaped=True) == b"/\xff\\x"


@given(st.binary())
def test_decoding_is_reversible(sent: bytes) -> None:
    """Any bytes, and without an exception."""
    assert restore(*decode(sent)) == sent


@given(st.binary())
def test_escaping_as_nginx_does_is_undone(sent: bytes) -> None:
    """ngx_http_log_module escapes the quote, the backslash and what is outside printable ASCII."""
    escaped = b"".join(
        rb"\x%02X" % byte if byte in b'"\\' or not 0x20 <= byte < 0x7F else bytes((byte,)) for byte in sent
    )
    assert unescape(escaped) == sent


@pytest.mark.parametrize(
    ("request_text", "whole"),
    [
        (b"", ""),
        (b"-", None),
        (rb"\x16\x03\x01\x02\x00\x01", "\x16\x03\x01\x02\0\x01"),
        (b"GET /old-style", "GET /old-style"),
        (b"get / HTTP/1.1", "get / HTTP/1.1"),
        (b"quit", "quit"),
    ],
)
def test_an_odd_request_is_a_record_without_a_method(request_text: bytes, whole: str | None) -> None:
    """The empty request, TLS bytes, no protocol: the client's fault, not the line's."""
    record = parse_one(request_line(request_text))
    assert (record.method, record.path, record.query, record.protocol) == (None, None, None, None)
    assert record.request == whole
    assert record.status == 200


def test_absent_values_are_null() -> None:
    """nginx writes a hyphen."""
    record = parse_one(b'192.0.2.7 - - [17/May/2015:10:05:03 -0730] "-" 400 - "-" "-" "-"')
    assert (record.remote_user, record.request, record.body_bytes) == (None, None, None)
    assert (record.referrer, record.user_agent, record.forwarded_for) == (None, None, None)
    assert record.time.utcoffset() == -timedelta(hours=7, minutes=30)


def test_a_status_of_zero_and_a_user_are_kept() -> None:
    """nginx writes 000 when it answered nothing; a user may hold spaces."""
    record = parse_one(COMBINED.replace(b"- - [", b"- Ada L [").replace(b'" 200 ', b'" 000 '))
    assert (record.remote_user, record.status) == ("Ada L", 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no access log at all", DeadLetterReason.UNPARSEABLE_LINE),
        (COMBINED[:-1], DeadLetterReason.UNPARSEABLE_LINE),
        (COMBINED + b' "a" "b"', DeadLetterReason.UNPARSEABLE_LINE),
        (COMBINED.replace(b"17/May", b"31/Feb"), DeadLetterReason.INVALID_VALUE),
        (COMBINED.replace(b"17/May", b"17/Mai"), DeadLetterReason.INVALID_VALUE),
        (COMBINED.replace(b"+0000", b"+9900"), DeadLetterReason.INVALID_VALUE),
        (COMBINED.replace(b"/2015", b"/0000"), DeadLetterReason.INVALID_VALUE),
        (b"\x00\xff\xfe binary", DeadLetterReason.UNPARSEABLE_LINE),
    ],
)
def test_what_does_not_parse_is_rejected_with_its_bytes_reason_and_place(line: bytes, reason: DeadLetterReason) -> None:
    """And its neighbours are not touched."""
    parsed = parse(COMBINED, line, COMBINED)
    (reject,) = parsed.rejects
    assert (reject.reason, reject.raw, reject.length) == (reason, line, len(line))
    assert reject.offset == len(COMBINED) + 1
    assert len(parsed.values) == 2


def test_crlf_is_taken_off() -> None:
    """The carriage return is no part of the last field; the length counts it."""
    record = parse_one(COMBINED + b"\r")
    assert record.user_agent == "Mozilla/5.0"
    assert record.source.length == len(COMBINED) + 1


def test_a_line_that_is_too_long_and_one_without_newline_are_rejected() -> None:
    """They come as chunks of their own kind."""
    long_chunk = Chunk(FILE, 100, 100 + 5_000_001, b"x" * 64, ChunkKind.TOO_LONG)
    open_chunk = Chunk(FILE, 100, 105, b"half ", ChunkKind.UNTERMINATED)
    (long_reject,) = ChunkParser(LogFormat.AUTO, "h").parse(long_chunk).rejects
    (open_reject,) = ChunkParser(LogFormat.AUTO, "h").parse(open_chunk).rejects
    assert (long_reject.reason, long_reject.length) == (DeadLetterReason.LINE_TOO_LONG, 5_000_000)
    assert (open_reject.reason, open_reject.raw) == (DeadLetterReason.UNTERMINATED_LINE, b"half ")


def test_a_record_over_the_topics_limit_becomes_a_reject() -> None:
    """The others of its chunk stay, in order."""
    big = request_line(b"GET /" + b"x" * 3000 + b" HTTP/1.1")
    parsed = parse(COMBINED, big, COMBINED)
    bounded = reject_oversized(parsed, 2000)
    (reject,) = bounded.rejects
    assert (reject.reason, reject.raw) == (DeadLetterReason.RECORD_TOO_LARGE, big)
    assert bounded.values == [parsed.values[0], parsed.values[2]]
    assert bounded.offsets == [parsed.offsets[0], parsed.offsets[2]]
    assert reject_oversized(parsed, 10_000) is parsed


def parse_generally(chunk: Chunk, log_format: LogFormat) -> parser.ParsedChunk:
    """The same parser with the fast way closed."""
    return ChunkParser(lambda _path: without_fast_way(FORMATS[log_format]), "web-1").parse(chunk)


_TOKENS = st.sampled_from(
    [b"-", b'"', b"\\", rb"\x22", rb"\xFF", b" ", b"?", b"/", b"[", b"]", b"\t", b"\r", b"\x7f", b"\xc3\xbc", b"\x00",
     b"GET", b"HTTP/1.1", b"0", b"00", b"200", b"17/May/2015:10:05:03 +0000", b"30/Feb/2015:10:05:03 +0000", b'" "',
     b'""', b"%", b"{", b"<query>", b"701"]
)  # fmt: skip


@st.composite
def mutated_lines(draw: st.DrawFn) -> bytes:
    """A good line with pieces cut out, doubled or replaced by what hurts parsers."""
    line = COMBINED + draw(st.sampled_from([b"", b' "10.0.0.1"']))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(line)))
        end = min(len(line), start + draw(st.integers(0, 12)))
        line = line[:start] + draw(st.one_of(_TOKENS, st.binary(max_size=3))) + line[end:]
    return line.replace(b"\n", b"")


@given(st.lists(mutated_lines(), min_size=1, max_size=4), st.sampled_from(LogFormat))
@settings(max_examples=500)
def test_both_ways_give_the_same_bytes(lines: list[bytes], log_format: LogFormat) -> None:
    """The fast way is an abbreviation of the model, never another opinion; and no line raises or gets lost."""
    chunk = chunk_of(*lines, start=1000)
    fast = ChunkParser(log_format, "web-1").parse(chunk)
    general = parse_generally(chunk, log_format)
    assert fast.values == general.values
    assert fast.rejects == general.rejects
    assert (fast.addresses, fast.offsets) == (general.addresses, general.offsets)
    assert len(fast.values) + len(fast.rejects) + fast.blank_line_count == len(lines)
    for value in fast.values:
        assert AccessRecord.model_validate_json(value).to_json() == value


def test_the_fast_way_is_taken() -> None:
    """Else the test above compares the general way with itself."""
    assert FORMATS[LogFormat.AUTO].fast.pattern.fullmatch(COMBINED + b"\n")
    assert parse_generally(chunk_of(COMBINED), LogFormat.AUTO).values == parse(COMBINED).values


@pytest.mark.parametrize("hostile", [b" [" * 200_000, b'"' * 300_000, b"\\" * 300_000, b"a " * 200_000])
def test_a_hostile_line_takes_linear_time(hostile: bytes) -> None:
    """A quadratic expression would take hours here; the alarm would end it."""
    signal.alarm(60)
    try:
        assert parse(b"192.0.2.7 - " + hostile).rejects
    finally:
        signal.alarm(0)
