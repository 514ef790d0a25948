"""Sets of bytes as classes of an expression."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

ByteSet = frozenset[int]

EVERY_BYTE: ByteSet = frozenset(range(256))
BLANKS: ByteSet = frozenset(b" \t\r\n\v\f")
DIGITS: ByteSet = frozenset(b"0123456789")
# What stands in JSON as it is: printable ASCII but the quote and the backslash. With and without the space.
PLAIN: ByteSet = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')
SOLID: ByteSet = PLAIN - BLANKS


def byte_class(members: Iterable[int]) -> bytes:
    """`[…]` for a set that is not empty."""
    ordered = sorted(members)
    starts = [ordered[0], *(right for left, right in pairwise(ordered) if right != left + 1)]
    ends = [*(left for left, right in pairwise(ordered) if right != left + 1), ordered[-1]]
    return b"[" + b"".join(rb"\x%02x-\x%02x" % span for span in zip(starts, ends, strict=True)) + b"]"
