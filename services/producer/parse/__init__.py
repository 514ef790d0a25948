"""From bytes to records: pure, no I/O.

`fast` turns the lines that need no thought straight into JSON; every other line goes through `general` and the model.
Both give the same bytes for a line that both accept.
"""

from services.producer.parse.formats import FORMATS, LogFormat
from services.producer.parse.parser import ChunkParser, ParsedChunk, Reject, reject_oversized

__all__ = ["FORMATS", "ChunkParser", "LogFormat", "ParsedChunk", "Reject", "reject_oversized"]
