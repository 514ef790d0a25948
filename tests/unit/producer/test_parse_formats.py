"""Compiled log formats: what each variable becomes, what is refused, and that both ways agree to the byte."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, event, example, given, settings

from services.producer.parse import (
    FORMATS,
    ChunkParser,
    CompiledFormat,
    Escape,
    FormatRefused,
    LogFormat,
    ParsedChunk,
    compile_format,
    format_of_setting,
    variables,
)
from services.producer.parse.escape import decode
from services.producer.parse.trial import try_format
from services.producer.parse.variables import LISTS, Kind
from shared.schemas import AccessRecord
from tests.unit.producer.lines import COMBINED, chunk_of, parse, without_fast_way
from tests.unit.producer.log_formats import Case, cases

# A list whose second item may as well be the begin of the text behind it.
SENT = {"status": b"200", "time_local": b"17/May/2015:10:05:03 +0000", "upstream_addr": b"10.0.0.1:80 : 10.0.0.1:80"}
TWO_READINGS = Case(
    Escape.DEFAULT,
    '${status} ${host} ${host} ${time_local} ${upstream_addr} ${remote_user}" "${remote_user}',
    (b'200 p p 17/May/2015:10:05:03 +0000 10.0.0.1:80 : 10.0.0.1:80 a" "a',),
    ({**SENT, "host": b"p", "remote_user": b"a"},),
)


def parse_with(log_format: CompiledFormat, *lines: bytes) -> ParsedChunk:
    return ChunkParser(lambda _path: log_format, "web-1").parse(chunk_of(*lines, start=1000))


@given(cases())
@example(TWO_READINGS)
@settings(max_examples=600)
def test_both_ways_agree_for_any_format(case: Case) -> None:
    """Whatever the format, the fast way gives what the general way gives, and no line is lost."""
    try:
        log_format = compile_format(case.text, escape=case.escape)
    except FormatRefused:
        assume(False)
    fast = parse_with(log_format, *case.lines)
    general = parse_with(without_fast_way(log_format), *case.lines)
    assert fast.values == general.values
    assert fast.rejects == general.rejects
    assert (fast.addresses, fast.offsets) == (general.addresses, general.offsets)
    assert len(fast.values) + len(fast.rejects) + fast.blank_line_count == len(case.lines)
    for value in fast.values:
        assert AccessRecord.model_validate_json(value).to_json() == value
    if log_format.fast.pattern.search(chunk_of(*case.lines).data):
        event("fast")
    event(f"{len(fast.values)} records")


@given(cases())
@example(TWO_READINGS)
@settings(max_examples=600)
def test_a_value_comes_back_as_it_was_sent_or_not_at_all(case: Case) -> None:
    """A line that could be read in two ways is a dead letter, never a record with the values shifted."""
    try:
        log_format = compile_format(case.text, escape=case.escape)
    except FormatRefused:
        assume(False)
    parsed = parse_with(log_format, *case.lines)
    for value, offset in zip(parsed.values, parsed.offsets, strict=True):
        number = chunk_of(*case.lines).data[: offset - 1000].count(b"\n")
        record = AccessRecord.model_validate_json(value)
        for variable in log_format.general.variables:
            if variable.kind in {Kind.TEXT, Kind.WORD, Kind.ADDRESS, *LISTS}:
                expected = expected_value(case.sent[number][variable.name], variable.kind, case.escape)
                assert value_at(record, variable.path) == expected, variable.name


def value_at(record: AccessRecord, path: variables.Path) -> object:
    value: Any = record
    for name in path:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def expected_value(sent: bytes, kind: Kind, escape: Escape) -> object:
    """The field for what a client sent, said once more in the plainest way."""
    if kind is Kind.ADDRESS:
        return sent.decode()
    if sent == b"-" or (sent == b"" and escape is not Escape.DEFAULT):
        return None
    if kind in LISTS:
        convert = {Kind.WORDS: str, Kind.NUMBERS: float}.get(kind, int)
        items = sent.decode().replace(" : ", ", ").split(", ")
        return tuple(None if item == "-" else convert(item) for item in items)
    return decode(sent)[0]


@pytest.mark.parametrize(
    ("text", "values", "statuses"),
    [
        ("$upstream_status $host", b"200 : 404 a", [200, 404]),
        ("$upstream_status $host:$server_port", b"200 : 404 a:80", [200, 404]),
        ('$upstream_status $http_x"', b'200, 404 a"', [200, 404]),
        ('$upstream_status $http_x"', b'200 : a"', [200]),
        ('$upstream_status $http_x"', b'200 : 404 a"', None),
        ("$upstream_status,$http_x", b"200, 404,a", None),
        ("escape=json $upstream_status $host: $pipe", b"200 : 404 a: p", None),
        ("escape=json $upstream_status $host:$http_x", b"200 : 404 a:b", None),
        ("$http_x : $upstream_status", b"a : 200", [200]),
        ("$http_x : $upstream_status", b"a : 200 : 404", None),
        ("escape=json $http_x: $upstream_status|$http_y", b"a: |: 404|b", None),
    ],
)
def test_a_list_ends_where_nothing_else_can_be_meant(text: str, values: bytes, statuses: list[int] | None) -> None:
    """None: the line has two readings. With quotes in front of the time a text ends there for sure."""
    log_format = format_of_setting(f'{text}" $status $msec')
    parsed = parse_with(log_format, values + b'" 200 1431857103.120')
    assert [json.loads(value)["details"]["upstream"]["statuses"] for value in parsed.values] == (
        [] if statuses is None else [statuses]
    )
    assert parsed.values == parse_with(without_fast_way(log_format), values + b'" 200 1431857103.120').values


LINE_OF_TIMED = (
    b'192.0.2.7:5555 [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/2.0" 200 512 rt=0.120 '
    b'ua="10.0.0.1:80, 10.0.0.2:80 : unix:/s" us="502, 200 : -" ut="0.001, - : 1.500" '
    b'h="a.example" x="\\xC3\\xBC" g=3.25'
)
TIMED = (
    '$remote_addr:$remote_port [$time_local] "$request" $status $body_bytes_sent rt=$request_time '
    'ua="$upstream_addr" us="$upstream_status" ut="$upstream_response_time" h="$host" x="$mine" g=$gzip_ratio'
)


def test_every_variable_becomes_a_typed_field() -> None:
    """Numbers are numbers, lists are lists, a hyphen is null, what is unknown is in `extra`."""
    [value] = parse_with(compile_format(TIMED), LINE_OF_TIMED).values
    details = json.loads(value)["details"]
    assert details == {
        "host": "a.example",
        "request_time_s": 0.12,
        "gzip_ratio": 3.25,
        "connection": {"client_port": 5555},
        "upstream": {
            "addresses": ["10.0.0.1:80", "10.0.0.2:80", "unix:/s"],
            "statuses": [502, 200, None],
            "response_times_s": [0.001, None, 1.5],
        },
        "extra": {"mine": "ü"},
    }


def test_a_stock_format_has_no_details() -> None:
    """Records of formats without further variables stay as small as they were."""
    [value] = parse(COMBINED).values
    assert "details" not in json.loads(value)


@pytest.mark.parametrize(
    ("text", "line", "time"),
    [
        ("$time_iso8601 $status", b"2015-05-17T10:05:03+02:00 200", "2015-05-17T10:05:03+02:00"),
        ("$msec $status", b"1431857103.120 200", "2015-05-17T10:05:03.120000Z"),
        ("$msec $status $time_local", b"1431857103.120 200 17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03Z"),
    ],
)
def test_any_time_of_nginx_is_the_time(text: str, line: bytes, time: str) -> None:
    """With the best zone that the format has; without $remote_addr the address is a hyphen."""
    parsed = parse_with(compile_format(text), line)
    record = json.loads(parsed.values[0])
    assert (record["time"], record["client_address"], parsed.addresses) == (time, "-", [b"-"])


@pytest.mark.parametrize("target", ["$request_uri", "$uri$is_args$args", "$uri?$args"])
def test_a_request_in_pieces_fills_the_same_fields(target: str) -> None:
    """Method, target and protocol apart."""
    log_format = compile_format(f'$msec $status $request_method "{target}" $server_protocol')
    record = json.loads(parse_with(log_format, b'1431857103.120 200 GET "/a?b=c" HTTP/1.1').values[0])
    pieces = [record[name] for name in ("method", "path", "query", "protocol", "request")]
    assert pieces == ["GET", "/a", "b=c", "HTTP/1.1", None]


def test_json_shaped_formats_are_read() -> None:
    """JSON's escapes are undone, an empty value is an absent one."""
    text = 'escape=json {"time":"$time_iso8601","status":$status,"ua":"$http_user_agent","ref":"$http_referer"}'
    line = (
        rb'{"time":"2015-05-17T10:05:03+02:00","status":200,"ua":"say \"hi\"\t\u0001 ' + "ü".encode() + b'","ref":""}'
    )
    record = json.loads(parse_with(format_of_setting(text), line).values[0])
    assert (record["user_agent"], record["referrer"]) == ('say "hi"\t\x01 ü', None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$remote_addr $status", "the format lacks a time ($time_iso8601, $time_local or $msec); it has $remote_addr,"),
        ("$msec", "the format lacks $status; it has $msec"),
        ("$msec $status$request", "column 14: $request follows $status with nothing in between"),
        ("$msec $status $", "column 15: a `$` without the name"),
        ("$msec $status\n", "column 14: a line break"),
        ("$msec $http_cookie $http_accept $status", "column 7: $http_cookie may hold blanks and only a blank parts it"),
        ("$msec ${request_length}0 $status", "column 7: $request_length is a number and '0' follows it"),
        ("$msec $upstream_addr, $status", "column 7: $upstream_addr is a list"),
        ("$msec ${host}x $status", "column 7: $host is followed by 'x'"),
        ("escape=xml $msec $status", "escape=xml is not known; nginx has default, json, none"),
        ("combind", "it is none of auto, common, combined, main, nor a format of nginx"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused_with_the_reason(text: str, message: str) -> None:
    """At the start, not line by line."""
    with pytest.raises(FormatRefused) as refused:
        format_of_setting(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "column 1: $msec (time in seconds since 1970) is expected, the end of the line is there"),
        (b'1431857103.120 20x "a"', "column 16: $status (status) is expected, '20x \"a\"' is there"),
        (b'1431857103.120 200 "a', "column 21: $http_cookie (text) begins here and no '\"' follows it"),
        (b'1431857103.120 200 "a" \x1b[1m', "column 23: the format ends here, the line goes on with ' \\x1b[1m'"),
    ],
)
def test_a_line_that_does_not_fit_is_explained_with_the_column(line: bytes, message: str) -> None:
    """And nothing of the line can steer the terminal of its reader."""
    assert compile_format('$msec $status "$http_cookie"').general.explain(line) == message


@pytest.mark.parametrize(
    "text", [TIMED, "$msec|$http_a|$http_b|$status|$upstream_addr|$request", "$http_a $status $msec"]
)
@pytest.mark.parametrize("piece", [b" ", b'"', b"\\", b"a|", b"1, ", b"200 ", b" : 1", b"GET /"])
def test_a_hostile_line_takes_linear_time_in_any_format(text: str, piece: bytes) -> None:
    """A quadratic expression would take hours here; the alarm would end it."""
    signal.alarm(60)
    try:
        assert parse_with(compile_format(text), piece * 20_000, b"1431857103.120|" + piece * 20_000).rejects
    finally:
        signal.alarm(0)


def test_the_fast_way_is_taken_by_compiled_formats() -> None:
    """Else the tests above compare the general way with itself."""
    line = LINE_OF_TIMED.replace(b", 10.0.0.2:80 : unix:/s", b"").replace(b"502, 200 : -", b"200")
    line = line.replace(b"0.001, - : 1.500", b"0.001").replace(b"\\xC3\\xBC", b"plain")
    assert compile_format(TIMED).fast.pattern.fullmatch(line + b"\n")


def made_sample() -> bytes:
    """Mostly what browsers ask for; some lines need thought, one in 500 is cut off."""
    agents = (b"-", b"Mozilla/5.0 (X11; Linux x86_64)", b"curl/7.1")
    requests = (b"GET / HTTP/1.1", b"GET /a?b=c HTTP/1.0", b"HEAD /x HTTP/2.0", b"POST /y?z HTTP/1.1")
    odd = (b"", rb"\x16\x03", rb"GET /\xC3\xBC HTTP/1.1")
    lines = []
    for number in range(2000):
        request = odd[number % 3] if number % 20 == 0 else requests[number % 4]
        line = COMBINED.replace(b"GET /a?b=c HTTP/1.1", request).replace(b"Mozilla/5.0", agents[number % 3])
        lines.append(line[:60] if number % 500 == 7 else line)
    return chunk_of(*lines).data


def test_the_lines_of_a_real_log_take_the_fast_way() -> None:
    """REAL_LOG names one in the combined format; nothing else of it is known here. Without it, one is made."""
    path = os.environ.get("REAL_LOG")
    data = Path(path).read_bytes() if path else made_sample()
    trial = try_format(FORMATS[LogFormat.AUTO], [(0, data[: data.rfind(b"\n") + 1])], path or "made")
    assert trial.parsed_share > 0.99
    assert trial.fast_count > 0.9 * trial.line_count
