"""Kafka's own way from a key to a partition, so that other producers, joins and ksqlDB agree with ours."""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 hash that Kafka's Java client uses, as an unsigned number.

    Source: org.apache.kafka.common.utils.Utils.murmur2 and Austin Appleby's MurmurHash2.
    """
    length = len(key)
    digest = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        digest = digest * _MULTIPLIER & _MASK ^ word
    if length > whole:
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * _MULTIPLIER & _MASK
    digest = (digest ^ digest >> 13) * _MULTIPLIER & _MASK
    return digest ^ digest >> 15


def partition_of_key(key: bytes, partition_count: int) -> int:
    """The partition that Kafka's default partitioner gives a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partition_count
