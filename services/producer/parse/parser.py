"""A chunk to values, keys and rejects: the fast way where it holds, the general way for every other line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.producer.chunk import Chunk, ChunkKind
from services.producer.parse.formats import FORMATS, LogFormat
from services.producer.parse.general import LineRejected, parse_line
from services.producer.parse.template import record_template
from services.producer.parse.timestamp import TimeCache
from shared.schemas import DeadLetterReason, Source

_NULL = b"null"
# Templates are kept per file; a new one costs 50 µs, so a small cache does.
MAX_CACHED_TEMPLATES = 256


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
    delivered_count: int = 0  # lines that were taken out because the topic has them already


class ChunkParser:
    """Parses chunks of one host in one format. Keeps bounded caches, else no state."""

    def __init__(self, log_format: LogFormat, host: str) -> None:
        self._expressions = FORMATS[log_format]
        self._host = host
        self._times = TimeCache()
        self._templates: dict[tuple[str, str], bytes] = {}

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
        data, base = parsed.chunk.data, parsed.chunk.start
        template = self._template(parsed.chunk)
        times = self._times
        add_value, add_address, add_offset = parsed.values.append, parsed.addresses.append, parsed.offsets.append
        done = 0
        for match in self._expressions.fast.finditer(data):
            start, end = match.span()
            if start != done:
                self._parse_each(parsed, done, start)
            address, user, time, method, path, query, protocol, status, size, referrer, agent, forwarded = match.groups(
                _NULL
            )
            text = times[time]
            if text is None:
                self._parse_each(parsed, start, end)
            else:
                add_value(
                    template
                    % (
                        text,
                        address,
                        _NULL if user is _NULL else b'"%b"' % user,
                        method,
                        path,
                        _NULL if query is _NULL else b'"%b"' % query,
                        protocol,
                        status,
                        size,
                        referrer,
                        agent,
                        forwarded,
                        base + start,
                        end - start - 1,
                    )
                )
                add_address(address)
                add_offset(base + start)
            done = end
        if done != len(data):
            self._parse_each(parsed, done, len(data))

    def _parse_each(self, parsed: ParsedChunk, start: int, end: int) -> None:
        """The general way for the lines in `data[start:end]`."""
        data = parsed.chunk.data
        while start < end:
            newline = data.index(b"\n", start)
            self._parse_one(parsed, parsed.chunk.start + start, data[start:newline])
            start = newline + 1

    def _parse_one(self, parsed: ParsedChunk, offset: int, line: bytes) -> None:
        if not line.strip():
            parsed.blank_line_count += 1
            return
        file = parsed.chunk.file
        source = Source(host=self._host, file=file.path, generation=file.generation, offset=offset, length=len(line))
        try:
            record = parse_line(line.removesuffix(b"\r"), self._expressions.general, source)
        except LineRejected as rejected:
            parsed.rejects.append(Reject(rejected.reason, rejected.message, offset, len(line), line))
            return
        parsed.values.append(record.to_json())
        parsed.addresses.append(record.client_address.encode())
        parsed.offsets.append(offset)

    def _template(self, chunk: Chunk) -> bytes:
        key = (chunk.file.path, chunk.file.generation)
        if key not in self._templates:
            if len(self._templates) >= MAX_CACHED_TEMPLATES:
                self._templates.clear()
            self._templates[key] = record_template(self._host, *key)
        return self._templates[key]


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
