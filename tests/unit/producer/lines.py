"""Lines and chunks for the tests of parsing."""

from __future__ import annotations

import re
from dataclasses import replace

from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, CompiledFormat, LogFormat, ParsedChunk
from shared.schemas import AccessRecord

FILE = FileIdentity("/var/log/nginx/access.log", 1, 2, "2-feed", 0, "")
COMBINED = (
    b'192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 512 "https://example.org/" "Mozilla/5.0"'
)


def chunk_of(*lines: bytes, start: int = 0) -> Chunk:
    data = b"".join(line + b"\n" for line in lines)
    return Chunk(FILE, start, start + len(data), data)


def parse(*lines: bytes, log_format: LogFormat = LogFormat.AUTO, start: int = 0) -> ParsedChunk:
    return ChunkParser(log_format, "web-1").parse(chunk_of(*lines, start=start))


def parse_one(line: bytes, log_format: LogFormat = LogFormat.AUTO) -> AccessRecord:
    """The record of a line that is one."""
    parsed = parse(line, log_format=log_format)
    assert not parsed.rejects, parsed.rejects
    return AccessRecord.model_validate_json(parsed.values[0])


def without_fast_way(log_format: CompiledFormat) -> CompiledFormat:
    """The same format with its fast way closed."""
    slow = CompiledFormat(log_format.name, log_format.syntax)
    slow.__dict__["fast"] = replace(log_format.fast, pattern=re.compile(rb"(?!)"))
    return slow
