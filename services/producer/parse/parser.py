"""A chunk to values, keys and rejects: the fast way where it holds, the general way for every other line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from services.producer.chunk import Chunk, ChunkKind
from services.producer.parse.caches import PARSE_TIME, NumberCache, TimeCache
from services.producer.parse.formats import FORMATS, CompiledFormat, LogFormat
from services.producer.parse.general import LineRejected, parse_line
from shared.schemas import DeadLetterReason, Source

# Formats and templates are kept per file; a new one costs 50 µs, so a small cache does.
MAX_CACHED_FILES = 256


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is no record. `raw` is a prefix of it when `length` is larger."""

    reason: DeadLetterReason
    message: str
    offset: int
    length: int
    raw: bytes


@dataclass(slots=True)
class ParsedChunk:
    """The records of a chunk in the order of the file (three lists of one length), and what is none."""

    chunk: Chunk
    values: list[bytes] = field(default_factory=list)  # JSON of an AccessRecord
    addresses: list[bytes] = field(default_factory=list)  # the client's address, UTF-8
    offsets: list[int] = field(default_factory=list)  # in the file
    rejects: list[Reject] = field(default_factory=list)
    blank_line_count: int = 0
    blank_bytes: int = 0
    delivered_count: int = 0  # lines that were taken out because the topic has them already
    delivered_bytes: int = 0


class ChunkParser:
    """Parses chunks of one host. Keeps bounded caches, else no state."""

    def __init__(self, log_format: LogFormat | Callable[[str], CompiledFormat], host: str) -> None:
        """`log_format`: a built-in format for every file, or what gives a file's format by its path."""
        self._format_of = log_format if callable(log_format) else lambda _path: FORMATS[log_format]
        self._host = host
        self._times = {kind: TimeCache(parse) for kind, parse in PARSE_TIME.items()}
        self._numbers = NumberCache()
        self._files: dict[tuple[str, str], tuple[CompiledFormat, bytes]] = {}

    def parse(self, chunk: Chunk) -> ParsedChunk:
        """Every byte of the chunk ends up in a value, a reject or the count of blank lines."""
        parsed = ParsedChunk(chunk)
        if chunk.kind is ChunkKind.LINES:
            self._parse_lines(parsed)
        elif chunk.kind is ChunkKind.TOO_LONG:
            length = chunk.end - chunk.start - 1
            message = f"the line has {length} bytes"
            parsed.rejects.append(Reject(DeadLetterReason.LINE_TOO_LONG, message, chunk.start, length, chunk.data))
        else:
            message = "the file ended without a newline and nobody writes to it any more"
            length = chunk.end - chunk.start
            parsed.rejects.append(Reject(DeadLetterReason.UNTERMINATED_LINE, message, chunk.start, length, chunk.data))
        return parsed

    def _parse_lines(self, parsed: ParsedChunk) -> None:
        """The hot path: about 1.5 µs a line. What lies between two matches goes the general way."""
        log_format, template = self._file(parsed.chunk)
        data = parsed.chunk.data
        parse_each = partial(self._parse_each, parsed, log_format)
        done = log_format.loop(
            log_format.fast.pattern.finditer(data),
            parsed.chunk.start,
            template,
            self._times[log_format.time_kind],
            self._numbers,
            parsed.values.append,
            parsed.addresses.append,
            parsed.offsets.append,
            parse_each,
        )
        if done != len(data):
            parse_each(done, len(data))

    def _parse_each(self, parsed: ParsedChunk, log_format: CompiledFormat, start: int, end: int) -> None:
        """The general way for the lines in `data[start:end]`."""
        data = parsed.chunk.data
        while start < end:
            newline = data.index(b"\n", start)
            self._parse_one(parsed, log_format, parsed.chunk.start + start, data[start:newline])
            start = newline + 1

    def _parse_one(self, parsed: ParsedChunk, log_format: CompiledFormat, offset: int, line: bytes) -> None:
        if not line.strip():
            parsed.blank_line_count += 1
            parsed.blank_bytes += len(line) + 1
            return
        file = parsed.chunk.file
        source = Source(host=self._host, file=file.path, generation=file.generation, offset=offset, length=len(line))
        try:
            record = parse_line(line.removesuffix(b"\r"), log_format, source)
        except LineRejected as rejected:
            parsed.rejects.append(Reject(rejected.reason, rejected.message, offset, len(line), line))
            return
        parsed.values.append(record.to_json())
        parsed.addresses.append(record.client_address.encode())
        parsed.offsets.append(offset)

    def _file(self, chunk: Chunk) -> tuple[CompiledFormat, bytes]:
        """The format of the chunk's file and the template of its records."""
        key = (chunk.file.path, chunk.file.generation)
        if key not in self._files:
            if len(self._files) >= MAX_CACHED_FILES:
                self._files.clear()
            log_format = self._format_of(chunk.file.path)
            self._files[key] = (log_format, log_format.template.of_file(self._host, *key))
        return self._files[key]


def reject_oversized(parsed: ParsedChunk, max_record_bytes: int) -> ParsedChunk:
    """The chunk with every value that is over the limit turned into a reject; the same object if there is none."""
    if not parsed.values or max(map(len, parsed.values)) <= max_record_bytes:
        return parsed
    kept = replace(parsed, values=[], addresses=[], offsets=[], rejects=list(parsed.rejects))
    for value, address, offset in zip(parsed.values, parsed.addresses, parsed.offsets, strict=True):
        if len(value) <= max_record_bytes:
            kept.values.append(value)
            kept.addresses.append(address)
            kept.offsets.append(offset)
        else:
            line = _line_at(parsed.chunk, offset)
            message = f"the record has {len(value)} bytes, the topic takes {max_record_bytes}"
            kept.rejects.append(Reject(DeadLetterReason.RECORD_TOO_LARGE, message, offset, len(line), line))
    return kept


def _line_at(chunk: Chunk, offset: int) -> bytes:
    start = offset - chunk.start
    return chunk.data[start : chunk.data.index(b"\n", start)]
