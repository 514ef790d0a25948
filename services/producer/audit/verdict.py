"""What the audit says of each file and of the whole, in words and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.producer.audit.examine import Findings
from services.producer.tools.logs import Log
from shared.tools.ranges import Ranges

SHOWN_RANGES = 20


@dataclass(frozen=True)
class FileVerdict:
    """One file. `lines` are those that must be in the topic; `replayed` records are beside them."""

    log: Log
    lines: int
    records: int
    dead_letters: int
    replayed: int
    findings: Findings

    @property
    def in_flight_bytes(self) -> int:
        """Bytes that are not confirmed yet: not missing, and not looked at."""
        return self.log.size - self.log.end

    def sentences(self) -> Iterator[str]:
        """The verdict in words, the most important first."""
        found = self.findings
        if self.log.confirmed is None:
            yield "not known to the producer's checkpoint: nothing of it is confirmed"
        elif found.clean:
            but = " but what is said below" if found.gone or found.skipped else ""
            yield f"all there{but}: {self.lines:,} lines in {self.log.end:,} bytes"
        yield from _ranges("MISSING", found.missing)
        yield from _ranges("DOUBLED", found.doubled)
        yield from _ranges("DIFFERENT", found.different)
        yield from (f"  {sample}" for sample in found.samples)
        yield from _ranges("deleted by the topic's retention, or never there", found.gone)
        yield from _ranges("skipped by START_AT=end, or missing", found.skipped)
        yield from _ranges("there, but not to be compared: LOG_FORMAT does not parse it", found.unverified)
        if self.replayed:
            yield f"replayed besides: {self.replayed:,}"
        if self.log.confirmed is not None and self.log.confirmed > self.log.size:
            yield f"the file was cut: bytes {self.log.size} to {self.log.confirmed} were confirmed and are gone from it"
        if self.in_flight_bytes:
            yield f"in flight: bytes {self.log.end} to {self.log.size}, not confirmed yet"

    def as_json(self) -> dict[str, Any]:
        found = self.findings
        return {
            "path": self.log.path,
            "generation": self.log.identity.generation,
            "size": self.log.size,
            "confirmed": self.log.confirmed,
            "in_flight_bytes": self.in_flight_bytes,
            "clean": found.clean,
            "lines": self.lines,
            "records": self.records,
            "dead_letters": self.dead_letters,
            "replayed": self.replayed,
            "missing": list(found.missing),
            "doubled": list(found.doubled),
            "different": list(found.different),
            "gone_by_retention": list(found.gone),
            "skipped_at_start": list(found.skipped),
            "unverified": list(found.unverified),
            "samples": found.samples,
        }


def _ranges(what: str, ranges: Ranges) -> Iterator[str]:
    if not ranges:
        return
    shown = ", ".join(f"{start}-{end}" for start, end in list(ranges)[:SHOWN_RANGES])
    more = f" and {len(ranges) - SHOWN_RANGES} more" if len(ranges) > SHOWN_RANGES else ""
    yield f"{what}: {ranges.size:,} bytes in {len(ranges)} ranges: {shown}{more}"


@dataclass(frozen=True)
class Verdict:
    """All files, and what the topic holds besides."""

    files: Sequence[FileVerdict]
    of_other_hosts: int
    of_other_files: int
    foreign: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether every file is."""
        return all(verdict.findings.clean for verdict in self.files)

    def lines(self) -> Iterator[str]:
        """The whole in words."""
        for verdict in self.files:
            yield f"{verdict.log.path}  (generation {verdict.log.identity.generation})"
            yield from (f"  {sentence}" for sentence in verdict.sentences())
        for count, what in (
            (self.of_other_files, "of files that are not followed, or not there any more"),
            (self.of_other_hosts, "of other hosts (SOURCE_HOST)"),
            (self.foreign, "that are no lines of this producer"),
        ):
            if count:
                yield f"Not compared: {count:,} records and dead letters {what}."
        total = sum(verdict.lines for verdict in self.files)
        rate = f"{total / self.seconds:,.0f} lines/s"
        if not total and self.clean:
            yield "Nothing was compared: no followed file has confirmed lines."
        elif self.clean:
            yield f"Every confirmed line of {len(self.files)} files is in the topic, once ({total:,} lines, {rate})."
        else:
            unclean = sum(not verdict.findings.clean for verdict in self.files)
            yield f"{unclean} of {len(self.files)} files differ from the topic ({total:,} lines compared, {rate})."

    def as_json(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "files": [verdict.as_json() for verdict in self.files],
            "of_other_hosts": self.of_other_hosts,
            "of_other_files": self.of_other_files,
            "foreign": self.foreign,
            "seconds": round(self.seconds, 3),
        }
