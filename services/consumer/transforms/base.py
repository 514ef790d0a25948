"""What a transform is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.schemas import AccessRecord


def keep_key(key: bytes | None) -> bytes | None:
    return key


@dataclass(frozen=True, slots=True)
class Transform:
    """From a record to what is sent on. Pure: the same record gives the same bytes, also when it comes again.

    `value_of` gets the record and the bytes it was read from; None leaves the record out. `key_of` gets the key it
    came with. What either raises sets the record aside.
    """

    value_of: Callable[[AccessRecord, bytes], bytes | None]
    key_of: Callable[[bytes | None], bytes | None] = keep_key
