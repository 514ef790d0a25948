"""What a format would make of some lines, without sending anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse.formats import FORMATS, CompiledFormat, LogFormat
from services.producer.parse.parser import ChunkParser, Reject


@dataclass(frozen=True, slots=True)
class Trial:
    """Lines by the way that they took. Blank lines are counted apart from the others."""

    format_name: str
    fast_count: int
    general_count: int
    blank_count: int
    rejects: Sequence[Reject]

    @property
    def line_count(self) -> int:
        return self.fast_count + self.general_count + len(self.rejects)

    @property
    def parsed_share(self) -> float:
        """From 0 to 1; 1 where there is no line."""
        return 1 - len(self.rejects) / self.line_count if self.line_count else 1.0


def try_format(log_format: CompiledFormat, parts: Sequence[tuple[int, bytes]], path: str) -> Trial:
    """Parse whole lines; each part begins at a byte of the file."""
    parser = ChunkParser(lambda _path: log_format, "trial")
    fast_count = general_count = blank_count = 0
    rejects: list[Reject] = []
    for start, data in parts:
        file = FileIdentity(path, 0, 0, "trial", 0, "")
        parsed = parser.parse(Chunk(file, start, start + len(data), data))
        matched = {start + match.start() for match in log_format.fast.pattern.finditer(data)}
        fast = len(matched.intersection(parsed.offsets))
        fast_count += fast
        general_count += len(parsed.values) - fast
        blank_count += parsed.blank_line_count
        rejects += parsed.rejects
    return Trial(log_format.name, fast_count, general_count, blank_count, rejects)


def better_formats(trial: Trial, parts: Sequence[tuple[int, bytes]], path: str) -> Sequence[Trial]:
    """The built-in formats that take more of the same lines, the best first."""
    others = [try_format(FORMATS[name], parts, path) for name in LogFormat if name != trial.format_name]
    better = [other for other in others if other.parsed_share > trial.parsed_share]
    return sorted(better, key=lambda other: other.parsed_share, reverse=True)
