"""Which partition a record goes to, and under which key: a function of the record alone, never of the moment.

That is what lets a later run know where to look for a record that an earlier one may have published.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from services.producer.parse import ParsedChunk
from shared.kafka.partitioner import partition_of_key

MAX_CACHED_KEYS = 65_536
# With SPREAD, the records of this many neighbouring bytes of a file go to one partition.
SPREAD_BYTES = 4_096


class PartitionBy(StrEnum):
    """The values of PARTITION_BY."""

    CLIENT = "client"
    FILE = "file"
    SPREAD = "spread"


class Partitioner:
    """Assigns the records of a chunk. The cache is bounded; it only saves the hashing."""

    def __init__(self, partition_by: PartitionBy, partition_count: int) -> None:
        self._partition_by = partition_by
        self._count = partition_count
        self._by_key = _KeyCache(partition_count)

    def assign(self, parsed: ParsedChunk) -> tuple[Sequence[int], Sequence[bytes | None]]:
        """Partition and key of each record of the chunk, in order."""
        size = len(parsed.values)
        if self._partition_by is PartitionBy.CLIENT:
            by_key = self._by_key
            return [by_key[address] for address in parsed.addresses], parsed.addresses
        if self._partition_by is PartitionBy.FILE:
            key = parsed.chunk.file.path.encode()
            return [self._by_key[key]] * size, [key] * size
        count = self._count
        return [offset // SPREAD_BYTES % count for offset in parsed.offsets], [None] * size

    def assign_reject(self, parsed: ParsedChunk) -> int:
        """The partition of the dead letters of a file: together, in the order of the file."""
        return self._by_key[parsed.chunk.file.generation.encode()]


class _KeyCache(dict[bytes, int]):
    def __init__(self, partition_count: int) -> None:
        super().__init__()
        self._partition_count = partition_count

    def __missing__(self, key: bytes) -> int:
        if len(self) >= MAX_CACHED_KEYS:
            self.clear()
        partition = self[key] = partition_of_key(key, self._partition_count)
        return partition
