"""Keys go where Kafka's own clients send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.partitioner import murmur2, partition_of_key


@pytest.mark.parametrize(
    ("key", "signed_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_the_java_client(key: bytes, signed_hash: int) -> None:
    """Vectors of Kafka's own UtilsTest."""
    assert murmur2(key) == signed_hash & 0xFFFFFFFF


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_partition_is_in_range_and_stable(key: bytes, count: int) -> None:
    """A function of the key alone."""
    partition = partition_of_key(key, count)
    assert 0 <= partition < count
    assert partition == partition_of_key(bytes(key), count)
