"""What is published: records of the benchmark's log, each behind its number and the moment it was due. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import TypeVar

from bench.workload import access_log_lines
from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, LogFormat

RECORD_COUNT = 10_000
"""Different records; the next one after the last is the first again."""
_NUMBER_DIGITS, _DUE_DIGITS = 8, 16
_PREFIX_BYTES = _NUMBER_DIGITS + _DUE_DIGITS

Item = TypeVar("Item")


@cache
def records() -> tuple[tuple[bytes, bytes], ...]:
    """Client address, which is the key, and record, as services.producer would send it."""
    data = "".join(access_log_lines(RECORD_COUNT)).encode()
    identity = FileIdentity("/var/log/nginx/access.log", 1, 1, "g", 0, "")
    parsed = ChunkParser(LogFormat.AUTO, "web-1").parse(Chunk(identity, 0, len(data), data))
    return tuple(zip(parsed.addresses, parsed.values, strict=True))


def message(number: int, due_ns: int, key_count: int = RECORD_COUNT) -> tuple[bytes, bytes]:
    """Key and value, of the first `key_count` records. All of it is text: one of the brokers takes nothing else."""
    key, record = records()[number % key_count]
    return key, b"%0*x%0*x%s" % (_NUMBER_DIGITS, number, _DUE_DIGITS, due_ns, record)


def number_and_due(value: bytes) -> tuple[int, int]:
    """What `message` put in front."""
    return int(value[:_NUMBER_DIGITS], 16), int(value[_NUMBER_DIGITS:_PREFIX_BYTES], 16)


def key_number(number: int, key_count: int = RECORD_COUNT) -> int:
    """A number for the key of a message: equal for equal keys."""
    return zlib.crc32(records()[number % key_count][0])


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
