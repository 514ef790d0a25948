"""Which records of a batch a consumer wants: WHERE and SAMPLE_RATIO. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from services.consumer.decode import DecodedBatch
from services.consumer.where import NO_ANSWER, Where
from shared.schemas import AccessRecord

_HASH_RANGE = 2**64


@dataclass(frozen=True, slots=True)
class Selected:
    """What is left of a batch, how many records were left out and why, and how many WHERE could not be asked about.

    `failure` is what the first of those raised. They are among those that WHERE left out.
    """

    batch: DecodedBatch
    skipped: Mapping[str, int]
    failed: int = 0
    failure: str = ""


class Selector:
    """Chooses by the record alone, so that every group, and whoever reads a record again, chooses the same."""

    def __init__(self, where: Where | None, sample_ratio: float) -> None:
        self._where = where
        self._sampled_below = None if sample_ratio == 1 else int(sample_ratio * _HASH_RANGE)

    def select(self, batch: DecodedBatch) -> Selected:
        skipped = {"other_group": batch.other_group_count} if batch.other_group_count else {}
        if self._sampled_below is not None:
            batch = self._sample(batch, self._sampled_below, skipped)
        if self._where is None:
            return Selected(batch, skipped)
        return self._ask(batch, self._where, skipped)

    def _sample(self, batch: DecodedBatch, below: int, skipped: dict[str, int]) -> DecodedBatch:
        # First, because it is the cheaper one.
        left_out = {
            offset
            for offset, record in zip(batch.offsets, batch.records, strict=True)
            if place_in_sample(record) >= below
        }
        skipped["sample"] = len(left_out)
        return batch.without(left_out)

    def _ask(self, batch: DecodedBatch, where: Where, skipped: dict[str, int]) -> Selected:
        left_out: set[int] = set()
        failed, failure = 0, ""
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            try:
                if where.matches(record):
                    continue
            except NO_ANSWER as error:
                failed += 1
                failure = failure or f"{type(error).__name__}: {error}"
            left_out.add(offset)
        skipped["where"] = len(left_out)
        return Selected(batch.without(left_out) if left_out else batch, skipped, failed, failure)


def place_in_sample(record: AccessRecord) -> int:
    """From 0 up to 2**64, evenly, by what names the line for good: its file's generation and its offset there."""
    name = f"{record.source.generation}:{record.source.offset}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
