"""What a topic already holds of the lines that will be read: found at a start, taken out before sending. Pure.

A record names its line by host, generation and offset. Everything below a file's floor is delivered; behind it, each
line that was found in the tail of a topic is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from pydantic_core import from_json, to_json

from services.producer.chunk import KnownFile, line_bytes
from services.producer.parse import ParsedChunk
from shared.schemas.dead_letter import (
    SOURCE_FILE_HEADER,
    SOURCE_GENERATION_HEADER,
    SOURCE_HOST_HEADER,
    SOURCE_OFFSET_HEADER,
    Headers,
)
from shared.schemas.headers import REPLAY_HEADER
from shared.schemas.terminal import escape_terminal_controls

MAX_CACHED_PATHS = 10_000

# The end of every record's value, as the model writes it.
_SOURCE = re.compile(
    rb'"source":\{"host":("(?:[^"\\]|\\.)*"),"file":("(?:[^"\\]|\\.)*"),"generation":"([^"\\]*)","offset":(\d+),'
    rb'"length":\d+\}\}$'
)


class Delivered:
    """Lines of one host, in files whose path `is_wanted`: others are another producer's.

    `note…` while a topic is read, then `remove_from` for each chunk, file by file upwards. Memory: one number for each
    line that was found behind its floor; a file is forgotten once it is passed.
    """

    def __init__(
        self, host: str, files: Iterable[KnownFile] = (), is_wanted: Callable[[str], bool] = lambda _path: True
    ) -> None:
        self._is_wanted = lru_cache(MAX_CACHED_PATHS)(is_wanted)
        self._host = host.encode()
        self._host_json = escape_terminal_controls(to_json(host))
        self._files = {file.identity.generation: _FileTail(file.position) for file in files}
        self.line_count = 0
        self.strange_count = 0  # records that are not as a producer writes them

    def note_record(self, value: bytes | None, headers: Headers) -> None:
        """A record of the topic of records. One that was sent again on purpose says nothing of the first sending."""
        match = _SOURCE.search(value) if value else None
        if match is None or match[1] != self._host_json or _is_replay(headers):
            return
        try:
            self._note(from_json(match[2]), match[3].decode(), int(match[4]))
        except ValueError:
            self.strange_count += 1

    def note_dead_letter(self, headers: Headers) -> None:
        """A record of the dead-letter topic."""
        found = dict(headers)
        if found.get(SOURCE_HOST_HEADER) != self._host or _is_replay(headers):
            return
        try:
            path, generation = found[SOURCE_FILE_HEADER].decode(), found[SOURCE_GENERATION_HEADER].decode()
            self._note(path, generation, int(found[SOURCE_OFFSET_HEADER]))
        except (KeyError, ValueError):
            self.strange_count += 1

    def _note(self, path: str, generation: str, offset: int) -> None:
        if not self._is_wanted(path):
            return
        tail = self._files.setdefault(generation, _FileTail(0))
        if offset >= tail.floor and offset not in tail.offsets:
            tail.offsets.add(offset)
            tail.end = max(tail.end, offset + 1)
            self.line_count += 1

    @property
    def pending(self) -> bool:
        """Whether lines that were found behind a floor have not been passed yet."""
        return any(tail.offsets for tail in self._files.values())

    def forget_others_than(self, generations: Collection[str]) -> None:
        """Only these are read by this run: what was found of others need not be looked for again."""
        self._files = {name: tail for name, tail in self._files.items() if name in generations or not tail.offsets}

    def remove_from(self, parsed: ParsedChunk) -> ParsedChunk:
        """The chunk without what is delivered already; the same object where nothing is."""
        generation = parsed.chunk.file.generation
        tail = self._files.get(generation)
        if tail is None:
            return parsed
        if parsed.chunk.start >= tail.end:
            del self._files[generation]
            return parsed
        if parsed.chunk.end <= tail.floor:
            return replace(
                parsed,
                values=[],
                addresses=[],
                offsets=[],
                rejects=[],
                delivered_count=_size(parsed),
                delivered_bytes=parsed.chunk.end - parsed.chunk.start - parsed.blank_bytes,
            )
        if parsed.chunk.end >= tail.end:
            del self._files[generation]  # this was the last of what is delivered; until it is settled it is in flight
        kept = [index for index, offset in enumerate(parsed.offsets) if offset not in tail]
        rejects = [reject for reject in parsed.rejects if reject.offset not in tail]
        remaining = replace(
            parsed,
            values=[parsed.values[index] for index in kept],
            addresses=[parsed.addresses[index] for index in kept],
            offsets=[parsed.offsets[index] for index in kept],
            rejects=rejects,
        )
        return replace(
            remaining,
            delivered_count=_size(parsed) - len(kept) - len(rejects),
            delivered_bytes=parsed.delivered_bytes
            + sum(
                line_bytes(parsed.chunk, offset)
                for offset in (*parsed.offsets, *(reject.offset for reject in parsed.rejects))
                if offset in tail
            ),
        )


@dataclass(slots=True)
class _FileTail:
    """What is delivered of one file: all below `floor` and the lines that begin at `offsets`; nothing from `end` on."""

    floor: int
    offsets: set[int]
    end: int

    def __init__(self, floor: int) -> None:
        self.floor = self.end = floor
        self.offsets = set()

    def __contains__(self, offset: int) -> bool:
        return offset < self.floor or offset in self.offsets


def _size(parsed: ParsedChunk) -> int:
    """Lines of the chunk that are delivered, or to be."""
    return len(parsed.values) + len(parsed.rejects) + parsed.delivered_count


def _is_replay(headers: Headers) -> bool:
    return any(name == REPLAY_HEADER for name, _value in headers)
