"""What the audit says of each file and of the whole, in words and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from services.producer.audit.examine import Findings
from services.producer.tools.logs import Log, UnseenLog
from shared.tools.ranges import Ranges

SHOWN_RANGES = 20
SHOWN_UNSEEN = 20


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
    """All files, those with confirmed bytes that could not be compared, and what the topic holds besides."""

    files: Sequence[FileVerdict]
    unseen: Sequence[UnseenLog]
    of_other_hosts: int
    of_other_files: int
    foreign: int
    seconds: float

    @property
    def differs(self) -> bool:
        """Whether a file does."""
        return not all(verdict.findings.clean for verdict in self.files)

    @property
    def proves_nothing(self) -> bool:
        """Whether bytes were confirmed and none of them could be compared."""
        was_confirmed = bool(self.unseen) or any(verdict.log.confirmed for verdict in self.files)
        return was_confirmed and not any(verdict.log.end for verdict in self.files)

    @property
    def clean(self) -> bool:
        """Whether every file is; no when there was something to compare and nothing was."""
        return not self.differs and not self.proves_nothing

    def lines(self) -> Iterator[str]:
        """The whole in words."""
        for verdict in self.files:
            yield f"{verdict.log.path}  (generation {verdict.log.identity.generation})"
            yield from (f"  {sentence}" for sentence in verdict.sentences())
        yield from self._what_was_left_out()
        yield self._conclusion()

    def _what_was_left_out(self) -> Iterator[str]:
        for log in self.unseen[:SHOWN_UNSEEN]:
            yield f"Not compared: {log.path}  (generation {log.generation}), {log.confirmed:,} confirmed bytes"
            yield f"  {log.because}"
        if len(self.unseen) > SHOWN_UNSEEN:
            yield f"Not compared: {len(self.unseen) - SHOWN_UNSEEN:,} more files with confirmed bytes"
        for count, what in (
            (self.of_other_files, "of files that are not followed, or not there any more"),
            (self.of_other_hosts, "of other hosts (SOURCE_HOST)"),
            (self.foreign, "that are no lines of this producer"),
        ):
            if count:
                yield f"Not compared: {count:,} records and dead letters {what}."

    def _conclusion(self) -> str:
        total = sum(verdict.lines for verdict in self.files)
        rate = f"{total / self.seconds:,.0f} lines/s"
        if self.differs:
            unclean = sum(not verdict.findings.clean for verdict in self.files)
            return f"{unclean} of {len(self.files)} files differ from the topic ({total:,} lines compared, {rate})."
        if self.proves_nothing:
            return (
                "NOTHING was compared, though the producer has confirmed bytes: nothing of their files is to be seen "
                "here. Run it with the LOG_FILES and the folders that the producer has."
            )
        if not total:
            return "Nothing was compared: no followed file has confirmed lines."
        return f"Every confirmed line of {len(self.files)} files is in the topic, once ({total:,} lines, {rate})."

    def as_json(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "files": [verdict.as_json() for verdict in self.files],
            "unseen": [asdict(log) for log in self.unseen],
            "of_other_hosts": self.of_other_hosts,
            "of_other_files": self.of_other_files,
            "foreign": self.foreign,
            "seconds": round(self.seconds, 3),
        }
