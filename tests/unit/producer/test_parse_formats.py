"""Compiled log formats: what each variable becomes, what is refused, and that both ways agree to the byte."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, event, given, settings

from services.producer.parse import ChunkParser, CompiledFormat, Escape, FormatRefused, ParsedChunk, compile_format
from services.producer.parse.escape import decode
from services.producer.parse.variables import Kind, Path
from shared.schemas import AccessRecord
from tests.unit.producer.lines import chunk_of, without_fast_way
from tests.unit.producer.log_formats import Case, cases


def parse_with(log_format: CompiledFormat, *lines: bytes) -> ParsedChunk:
    return ChunkParser(lambda _path: log_format, "web-1").parse(chunk_of(*lines, start=1000))


@given(cases())
@settings(max_examples=600, deadline=None)
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
@settings(max_examples=600, deadline=None)
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
            if variable.kind in (Kind.TEXT, Kind.WORD, Kind.WORDS, Kind.ADDRESS):
                expected = expected_value(case.sent[number][variable.name], variable.kind, case.escape)
                assert value_at(record, variable.path) == expected, variable.name


def value_at(record: AccessRecord, path: Path) -> object:
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
    if kind is Kind.WORDS:
        items = sent.decode().replace(" : ", ", ").split(", ")
        return tuple(None if item == "-" else item for item in items)
    return decode(sent)[0]
