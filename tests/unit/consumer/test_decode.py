"""Bytes to records and dead letters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumer.decode import MAX_MESSAGE_CHARACTERS, decode
from shared.schemas import AccessRecord, DeadLetterReason
from tests.unit.consumer.records import TOPIC, received, value


def test_valid_values_keep_order_offset_and_bytes() -> None:
    values = [value(number) for number in range(5)]
    decoded = decode(received(values, first_offset=40), "group", "service")
    assert decoded.values == values
    assert decoded.offsets == [40, 41, 42, 43, 44]
    assert decoded.records == [AccessRecord.model_validate_json(one) for one in values]
    assert (decoded.first_offset, decoded.next_offset, decoded.rejects) == (40, 45, [])


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("poison", [b"", None, b"\xff", b"{}", b"[]", b"null", value(1)[:-1], value(1) + b"}"])
def test_poison_is_told_apart_at_every_place(place: int, poison: bytes | None) -> None:
    values = [poison if number == place else value(number) for number in range(5)]
    decoded = decode(received(values, first_offset=100), "group", "service")
    assert decoded.offsets == [100 + number for number in range(5) if number != place]
    [letter] = decoded.rejects
    assert letter.raw == (poison or b"")
    assert letter.raw_length == len(poison or b"")
    assert letter.key == b"192.0.2.1"
    assert letter.reason is DeadLetterReason.INVALID_RECORD
    assert (letter.original_topic, letter.original_partition, letter.original_offset) == (TOPIC, 3, 100 + place)
    assert (letter.original_consumer_group, letter.service) == ("group", "service")
    assert letter.original_timestamp_ms == 1_700_000_000_000
    assert letter.message


def test_a_message_names_the_field_and_stays_short() -> None:
    decoded = decode(received([b'{"schema_version":2,"time":"x"}']), "group", "service")
    message = decoded.rejects[0].message
    assert message.startswith("schema_version: ")
    assert len(message) <= MAX_MESSAGE_CHARACTERS
    assert message.endswith(" more)")


def test_fields_of_a_later_version_are_ignored() -> None:
    later = value(1)[:-1] + b',"added_later":true}'
    assert decode(received([later]), "group", "service").values == [later]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=10))
def test_every_offset_comes_out_once_whatever_the_bytes(values: list[bytes]) -> None:
    decoded = decode(received(values), "group", "service")
    rejected = [letter.original_offset for letter in decoded.rejects]
    assert sorted([*decoded.offsets, *(offset for offset in rejected if offset is not None)]) == [*range(len(values))]
