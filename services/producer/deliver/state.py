"""The checkpoint as records of a compacted topic, and who keeps it there. Pure.

A producer of the name `producer@web-1` keeps one record for itself under the key `producer@web-1/`, and one for each
file under `producer@web-1/<generation>`. It writes files first and itself last, so that its own record never speaks of
files that are not there. Only the producer behind the fence can write to the topic, so what stands there is true.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from services.producer.chunk import KnownFile
from services.producer.deliver.checkpoint import Checkpoint, decode_file, encode_file
from shared.errors import FatalError


class Owner(BaseModel):
    """A running producer, as it tells others of itself. `instance` is new with every start; `lock` is what it holds."""

    model_config = ConfigDict(frozen=True)

    instance: str
    host: str
    process: int
    started_at: str
    lock: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, started at {self.started_at}"


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True)

    owner: Owner
    released: bool
    sequence: NonNegativeInt
    patterns: dict[str, int | None]
    tails: dict[str, tuple[NonNegativeInt, ...]]


@dataclass(frozen=True)
class KeptState:
    """What the topic says of one producer. `owner` has given it up when `released`; `written_at` is an offset."""

    owner: Owner
    released: bool
    checkpoint: Checkpoint
    written_at: int


class StateRecords:
    """The records of one producer in the topic, as read and as written."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._header: tuple[_Header, int] | None = None
        self._files: dict[bytes, KnownFile] = {}

    def note(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """A record of the topic; those of other producers are passed over. Raises FatalError for what is no state."""
        name, _slash, generation = (key or b"").rpartition(b"/")
        if name != self._name:
            return
        try:
            if not generation:
                self._header = (_Header.model_validate_json(value), offset) if value else None
            elif value is None:
                self._files.pop(generation, None)
            else:
                self._files[generation] = decode_file(value)
        except ValidationError as error:
            raise FatalError(
                f"the state topic holds at offset {offset} what this version does not understand. Was it written by a "
                "newer one? Then use that one."
            ) from error

    def kept(self) -> KeptState | None:
        """What the topic says; None when this producer is not known there."""
        if self._header is None:
            return None
        header, offset = self._header
        checkpoint = Checkpoint(tuple(self._files.values()), header.patterns, header.sequence, header.tails)
        return KeptState(header.owner, header.released, checkpoint, offset)

    def changes(self, checkpoint: Checkpoint, owner: Owner, *, released: bool) -> list[tuple[bytes, bytes | None]]:
        """The records to write, keys and values, so that the topic says this; they count as written."""
        files = {file.identity.generation.encode(): file for file in checkpoint.files}
        changed: list[tuple[bytes, bytes | None]] = [
            (generation, encode_file(file)) for generation, file in files.items() if self._files.get(generation) != file
        ]
        changed += [(generation, None) for generation in self._files.keys() - files.keys()]
        self._files = files
        header = _Header(
            owner=owner,
            released=released,
            sequence=checkpoint.sequence,
            patterns=dict(checkpoint.patterns),
            tails=dict(checkpoint.tails),
        )
        changed.append((b"", header.model_dump_json().encode()))
        return [(self._name + b"/" + generation, value) for generation, value in changed]


@dataclass(frozen=True)
class TailRange:
    """What to read of one partition of a topic, `[start, end)`; not `whole` when some of it is not there any more."""

    start: int
    end: int
    whole: bool = True


def tail_range(expected: int | None, first: int, end: int) -> TailRange:
    """Where to look for lines of an earlier run: from the `expected` offset on; None means that nothing is known.

    `first` is the oldest offset that the partition keeps and `end` its next one.
    """
    if expected is None:
        return TailRange(end, end)
    if not first <= expected <= end:
        return TailRange(first, end, whole=False)
    return TailRange(expected, end)
