"""From bytes to records: pure, no I/O.

A format of nginx is compiled into two ways to read a line. The fast one turns the lines that need no thought straight
into JSON; every other line goes through `general` and the model. Both give the same bytes for a line that both accept.
"""

from services.producer.parse.formats import FORMATS, CompiledFormat, LogFormat, compile_format, format_of_setting
from services.producer.parse.parser import ChunkParser, ParsedChunk, Reject, reject_oversized
from services.producer.parse.syntax import Escape, FormatRefused

__all__ = [
    "FORMATS",
    "ChunkParser",
    "CompiledFormat",
    "Escape",
    "FormatRefused",
    "LogFormat",
    "ParsedChunk",
    "Reject",
    "compile_format",
    "format_of_setting",
    "reject_oversized",
]
