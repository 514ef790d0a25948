"""Checksums of what a file should have become and of what the topic holds of it, per block of the file. Pure.

A block is a mebibyte of a file. It has the number of its lines and two sums of 64-bit hashes: of where they stand, and
of what they say. Sums do not depend on the order in which partitions are read, and their memory does not depend on the
number of lines. Two lines that make up for each other would have to be found on purpose, with the hash's secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.producer.parse import ParsedChunk
from shared.schemas.dead_letter import Headers

BLOCK_BYTES = 1024 * 1024
MAX_CACHED_ORIGINS = 65_536

_SOURCE = b'"source":{"host":'
# The end of `source` in the JSON of a record. A quote inside of a value is escaped, so nothing else looks like it.
_PLACE = re.compile(rb'","generation":"[^"\\]+",("offset":(\d+),"length":(\d+))\}')


@dataclass(slots=True)
class Block:
    """`places` and `contents` are sums of hashes; `first` is the offset of the first line that was digested."""

    first: int
    lines: int = 0
    places: int = 0
    contents: int = 0


@dataclass(slots=True)
class FileDigest:
    """The lines of one generation below `limit`. What lies behind it is only counted."""

    limit: int
    blocks: dict[int, Block] = field(default_factory=dict)
    beyond: int = 0
    replayed: int = 0
    records: int = 0
    letters: int = 0
    # By topic and partition: the lowest offset of a line that was seen there.
    lowest: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, offset: int, place: bytes, content: bytes) -> None:
        """One line: `place` says where it stands, `content` is what is compared."""
        block = self.blocks.get(offset // BLOCK_BYTES)
        if block is None:
            block = self.blocks[offset // BLOCK_BYTES] = Block(offset)
        block.lines += 1
        block.places += hash(place)
        block.contents += hash(content)


def place_text(offset: int, length: int) -> bytes:
    """A line's place as it stands in its record."""
    return b'"offset":%d,"length":%d' % (offset, length)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record or dead letter says that its line stands. `content` is what it says of the line."""

    host: str
    generation: str
    offset: int
    length: int
    content: bytes


def place_of_value(value: bytes) -> Place | None:
    """The place of a record; None when it is none of the producer's."""
    start = value.rfind(_SOURCE)
    match = _PLACE.search(value, start) if start >= 0 else None
    if match is None:
        return None
    host, generation = _owner(value[start : match.start(1)])
    return Place(host, generation, int(match[2]), int(match[3]), value[:start] + value[match.end() :])


def _owner(origin: bytes) -> tuple[str, str]:
    """Host and generation in the JSON of a source up to its offset; two empty texts for what only looks like one."""
    try:
        source = json.loads(origin.removeprefix(b'"source":').rstrip(b",") + b"}")
        return str(source["host"]), str(source["generation"])
    except (ValueError, KeyError):
        return "", ""


def place_of_letter(value: bytes, headers: Headers) -> Place | None:
    """The place of a dead letter; None when it is no line but a record that a consumer set aside."""
    found = dict(headers)
    try:
        host, generation = found["dlt-source-host"].decode(), found["dlt-source-generation"].decode()
        return Place(host, generation, int(found["dlt-source-offset"]), int(found["dlt-raw-length"]), value)
    except (KeyError, ValueError):
        return None


class _Origins(dict[bytes, FileDigest]):
    """From the JSON of a source, up to its offset, to the digest of that generation."""

    def __init__(self, host: str, digests: Mapping[str, FileDigest]) -> None:
        super().__init__()
        self._host = host
        self._digests = digests
        self.of_other_hosts = FileDigest(0)
        self.of_other_files = FileDigest(0)

    def of(self, host: str, generation: str) -> FileDigest:
        if host != self._host:
            return self.of_other_hosts
        return self._digests.get(generation, self.of_other_files)

    def __missing__(self, origin: bytes) -> FileDigest:
        if len(self) >= MAX_CACHED_ORIGINS:
            self.clear()
        digest = self[origin] = self.of(*_owner(origin))
        return digest


class Book:
    """Sorts records and dead letters by the file they came from, and digests them. `digests` are by generation."""

    def __init__(self, host: str, digests: Mapping[str, FileDigest]) -> None:
        self._origins = _Origins(host, digests)
        self.foreign = 0  # values that this producer did not write

    @property
    def of_other_hosts(self) -> int:
        """Records and dead letters of other hosts."""
        return self._origins.of_other_hosts.beyond

    @property
    def of_other_files(self) -> int:
        """Records and dead letters of files that are not followed, or not there any more."""
        return self._origins.of_other_files.beyond

    def add_values(self, values: Iterable[bytes], topic: str = "", partition: int = 0) -> None:
        """Records that are no replays. The hot path: about 2 µs each."""
        origins, search, where = self._origins, _PLACE.search, (topic, partition)
        for value in values:
            start = value.rfind(_SOURCE)
            match = search(value, start) if start >= 0 else None
            if match is None:
                self.foreign += 1
                continue
            digest = origins[value[start : match.start(1)]]
            offset = int(match[2])
            if offset >= digest.limit:
                digest.beyond += 1
                continue
            digest.records += 1
            digest.add(offset, match[1], value[:start] + value[match.end() :])
            if offset < digest.lowest.get(where, digest.limit):
                digest.lowest[where] = offset

    def add_letter(self, value: bytes, headers: Headers, topic: str, partition: int) -> None:
        """A dead letter that is no replay."""
        place = place_of_letter(value, headers)
        if place is None:
            self.foreign += 1
            return
        digest = self._origins.of(place.host, place.generation)
        if place.offset >= digest.limit:
            digest.beyond += 1
            return
        digest.letters += 1
        digest.add(place.offset, place_text(place.offset, place.length), value)
        where = (topic, partition)
        digest.lowest[where] = min(place.offset, digest.lowest.get(where, place.offset))

    def add_replayed(self, value: bytes, headers: Headers) -> None:
        """A record or dead letter that was sent again on purpose, or a marker."""
        place = place_of_letter(value, headers) or place_of_value(value)
        if place is None:
            self.foreign += 1
        else:
            self._origins.of(place.host, place.generation).replayed += 1


def add_parsed(book: Book, digest: FileDigest, parsed: ParsedChunk) -> None:
    """What the producer would make of a piece of the file."""
    book.add_values(parsed.values)
    for reject in parsed.rejects:
        digest.letters += 1
        digest.add(reject.offset, place_text(reject.offset, reject.length), reject.raw)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A block whose checksums differ. `absent`: the topic has nothing of it. `contents_only`: every line is there."""

    block: int
    absent: bool
    contents_only: bool


def compare(expected: FileDigest, found: FileDigest) -> list[Suspicion]:
    """The blocks to look at closely, in the order of the file."""
    suspicions = []
    for number in sorted(expected.blocks.keys() | found.blocks.keys()):
        should, has = expected.blocks.get(number), found.blocks.get(number)
        same_places = should and has and (should.lines, should.places) == (has.lines, has.places)
        if not (same_places and should and has and should.contents == has.contents):
            suspicions.append(Suspicion(number, has is None, bool(same_places)))
    return suspicions
