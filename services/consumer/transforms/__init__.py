"""What SINK=kafka makes of a record. A new transform is a file beside this one and a line in the table.

A function of yours does as well, TRANSFORM=package.module:function:

    def transform(record: AccessRecord) -> bytes | None: ...

It returns the value to send on, or None to leave the record out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import cast

from services.consumer.handlers import import_function
from services.consumer.transforms.anonymise import ANONYMISE
from services.consumer.transforms.base import Transform
from services.consumer.transforms.copy import COPY
from services.consumer.transforms.errors import ERRORS
from shared.errors import HandlerNotFound
from shared.schemas import AccessRecord

TRANSFORMS: Mapping[str, Transform] = {"copy": COPY, "errors": ERRORS, "anonymise": ANONYMISE}


def load_transform(name: str) -> Transform:
    """The entry of the table, or the user's function. Raises HandlerNotFound, which says what is missing."""
    if name in TRANSFORMS:
        return TRANSFORMS[name]
    found = import_function("TRANSFORM", name)
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise HandlerNotFound(f"TRANSFORM={name} is not a plain function (`def`): it computes, and waits for nothing.")
    return Transform(_of_record(cast("Callable[[AccessRecord], bytes | None]", found)))


def _of_record(function: Callable[[AccessRecord], bytes | None]) -> Callable[[AccessRecord, bytes], bytes | None]:
    def value_of(record: AccessRecord, _value: bytes) -> bytes | None:
        value = function(record)
        if value is not None and not isinstance(value, bytes):
            raise TypeError(f"the transform returned {type(value).__name__}, neither bytes nor None")
        return value

    return value_of
