"""What follows from what publishers and workers noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.brokers.asking import FEW_KEYS
from bench.brokers.journal import (
    LINE_BYTES,
    Confirmation,
    Journal,
    Receipt,
    account,
    count_late,
    first_after,
    latencies_ms,
    longest_silence_ms,
    read_journal,
)
from bench.brokers.messages import RECORD_COUNT, key_number, message, number_and_due, records


def confirmed(*numbers: int) -> list[Confirmation]:
    return [Confirmation(number, 0, 1) for number in numbers]


def received(*numbers: int, first_ns: int = 0) -> list[Receipt]:
    return [Receipt(number, 0, first_ns + place) for place, number in enumerate(numbers)]


def test_what_was_confirmed_and_never_came_is_lost() -> None:
    found = account(confirmed(0, 1, 2), [received(0, 2)])
    assert (found.lost, found.doubled) == (1, 0)


def test_what_came_and_was_not_confirmed_is_not_lost() -> None:
    """A confirmation may be cut off while the message is already stored."""
    assert account(confirmed(0), [received(0, 1)]).lost == 0


def test_a_message_that_two_workers_got_is_doubled_once() -> None:
    found = account(confirmed(0, 1), [received(0, 1), received(1, first_ns=10)])
    assert (found.lost, found.doubled, found.shares) == (0, 1, (2, 1))


def test_the_order_of_a_group_is_that_of_the_clock() -> None:
    """Workers are processes of one machine with one monotonic clock."""
    early, late = received(1, first_ns=5), received(0, first_ns=9)
    assert account([], [early, late]).late == 1
    assert account([], [received(1, first_ns=9), received(0, first_ns=5)]).late == 0


def test_a_repeat_is_doubled_and_not_late() -> None:
    found = account(confirmed(0, 1), [received(0, 1, 0)])
    assert (found.doubled, found.late) == (1, 0)


@pytest.mark.parametrize(("numbers", "late"), [((), 0), ((0, 1, 2), 0), ((2, 0, 1), 2), ((0, 2, 1, 3), 1)])
def test_late_is_what_comes_after_a_higher_number(numbers: tuple[int, ...], late: int) -> None:
    assert count_late(numbers) == late


def test_late_within_a_key_looks_at_that_key_alone() -> None:
    """The same record comes round again with its key: RECORD_COUNT apart."""
    other = next(number for number in range(1, RECORD_COUNT) if key_number(number) != key_number(0))
    assert account([], [received(other, 0)]).late_within_key == 0
    assert account([], [received(RECORD_COUNT, 0)]).late_within_key == 1


def test_few_keys_come_round_again_soon() -> None:
    """With as many as the question about order has, a swap of neighbours of a key is seen."""
    assert len({key_number(number, FEW_KEYS) for number in range(1_000)}) == FEW_KEYS
    for number in (0, FEW_KEYS, 1_000):
        assert message(number, 0, FEW_KEYS)[0] == records()[number % FEW_KEYS][0]
    assert account([], [received(FEW_KEYS, 0)]).late_within_key == 0
    assert account([], [received(FEW_KEYS, 0)], FEW_KEYS).late_within_key == 1


def test_latency_is_from_due_to_the_first_receipt() -> None:
    receipts = [Receipt(0, 1_000_000, 9_000_000), Receipt(0, 1_000_000, 4_000_000), Receipt(1, 0, 1_000_000)]
    assert latencies_ms(receipts) == [1.0, 3.0]


def test_silence_is_between_two_moments() -> None:
    assert longest_silence_ms([5_000_000, 1_000_000, 2_000_000]) == 3.0
    assert longest_silence_ms([7]) == 0


def test_the_first_moment_after_another_is_looked_for_in_any_order() -> None:
    assert first_after([9, 3, 5], 4) == 5
    with pytest.raises(ValueError, match="empty"):
        first_after([3], 4)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.note(7, 1, 2)
    journal.close()
    with path.open("ab") as file:
        file.write(b"\0" * (LINE_BYTES - 1))
    assert read_journal(path, Receipt) == [Receipt(7, 1, 2)]
    assert read_journal(path, Confirmation) == [Confirmation(7, 1, 2)]
    assert read_journal(tmp_path / "none", Receipt) == []


def test_a_message_is_a_record_behind_its_number_and_its_moment() -> None:
    """All of it is text, and its key is the client's address."""
    key, value = message(RECORD_COUNT + 3, 123_456_789_012_345)
    assert number_and_due(value) == (RECORD_COUNT + 3, 123_456_789_012_345)
    assert (key, value[24:]) == records()[3]
    assert b'"client_address":"' + key + b'"' in value
    value.decode("ascii")
