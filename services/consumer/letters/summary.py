"""Dead letters, counted by what they have in common. Bounded, however many they are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.schemas import DeadLetter
from shared.tools.moments import iso_of

MAX_KINDS = 200
MAX_PLACES = 64
SAMPLE_CHARACTERS = 200
MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What letters are counted by. `group` and `exception` are empty where a line of a file was rejected."""

    reason: str
    service: str
    group: str
    exception: str


@dataclass(slots=True)
class Range:
    """From the first to the last letter of one place, and how many; in between there may be others."""

    first: int
    last: int
    count: int = 1

    def add(self, offset: int) -> None:
        self.first, self.last = min(self.first, offset), max(self.last, offset)
        self.count += 1


@dataclass(slots=True)
class Tally:
    """The letters of one kind. `places` are partitions of topics (offsets), or files (bytes); `elsewhere` counts more
    than so many.
    """

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    cut: int = 0
    places: dict[str, Range] = field(default_factory=dict)
    elsewhere: int = 0
    samples: list[dict[str, str]] = field(default_factory=list)

    def add(self, letter: DeadLetter, place: str, timestamp_ms: int, max_samples: int) -> None:
        """One more, that stands at `place` of the dead-letter topic."""
        self.first_ms = min(self.first_ms, timestamp_ms) if self.count else timestamp_ms
        self.last_ms = max(self.last_ms, timestamp_ms)
        self.count += 1
        self.cut += letter.raw_length > len(letter.raw)
        origin, offset = origin_of(letter)
        if origin in self.places:
            self.places[origin].add(offset)
        elif len(self.places) < MAX_PLACES:
            self.places[origin] = Range(offset, offset)
        else:
            self.elsewhere += 1
        if len(self.samples) < max_samples:
            self.samples.append(sample_of(letter, place))


def origin_of(letter: DeadLetter) -> tuple[str, int]:
    """Where a letter comes from, and the offset or byte there."""
    if letter.original_topic is not None:
        return f"{letter.original_topic} partition {letter.original_partition}", letter.original_offset or 0
    return f"{letter.source_host}:{letter.source_file}", letter.source_offset or 0


def sample_of(letter: DeadLetter, place: str) -> dict[str, str]:
    """A letter in short; bytes that are no UTF-8 are written as backslash escapes."""
    origin, offset = origin_of(letter)
    return {
        "dead_letter": place,
        "origin": f"{origin} at {offset}",
        "message": letter.message[:MESSAGE_CHARACTERS],
        "value": letter.raw[: 4 * SAMPLE_CHARACTERS].decode(errors="backslashreplace")[:SAMPLE_CHARACTERS],
    }


class Summary:
    """Every letter that was chosen. `others` counts those of more kinds than are kept apart."""

    def __init__(self, max_samples: int) -> None:
        self._max_samples = max_samples
        self.kinds: dict[Kind, Tally] = {}
        self.others = 0
        self.markers = 0
        self.strangers = 0

    def add(self, letter: DeadLetter, partition: int, offset: int, timestamp_ms: int) -> None:
        """The letter at that place of the dead-letter topic."""
        group, exception = letter.original_consumer_group or "", letter.exception_name or ""
        kind = Kind(letter.reason.value, letter.service, group, exception)
        if kind not in self.kinds and len(self.kinds) >= MAX_KINDS:
            self.others += 1
            return
        tally = self.kinds.setdefault(kind, Tally())
        tally.add(letter, f"{partition}/{offset}", timestamp_ms, self._max_samples)

    @property
    def count(self) -> int:
        return self.others + sum(tally.count for tally in self.kinds.values())

    def by_count(self) -> list[tuple[Kind, Tally]]:
        """The kinds, most letters first."""
        return sorted(self.kinds.items(), key=lambda item: (-item[1].count, item[0]))

    def document(self, topic: str) -> dict[str, Any]:
        """For programs."""
        kinds = [{**_named(kind), **_told(tally)} for kind, tally in self.by_count()]
        counts = {"letters": self.count, "markers": self.markers, "no_dead_letters": self.strangers}
        return {"topic": topic, **counts, "kinds": kinds, "letters_of_other_kinds": self.others}

    def lines(self, topic: str) -> Iterator[str]:
        """For people."""
        if not self.count:
            yield f"No dead letters were found in {topic}."
        for kind, tally in self.by_count():
            yield from _paragraph(kind, tally)
        if self.others:
            yield f"and {self.others:,} of more kinds than {MAX_KINDS}; choose with REASON, GROUP, SERVICE or SINCE"
        if self.count:
            yield f"{self.count:,} dead letters in {topic}{_by_reason(self.kinds)}."
        if self.markers:
            yield f"Besides: {self.markers:,} markers of dead letters that were sent again or are records now."
        if self.strangers:
            yield f"Besides: {self.strangers:,} records that are no dead letters of this pipeline."


def _named(kind: Kind) -> dict[str, str | None]:
    return {name: value or None for name, value in asdict(kind).items()}


def _told(tally: Tally) -> dict[str, Any]:
    return {
        "count": tally.count,
        "first": iso_of(tally.first_ms),
        "last": iso_of(tally.last_ms),
        "cut": tally.cut,
        "places": {place: asdict(found) for place, found in tally.places.items()},
        "letters_elsewhere": tally.elsewhere,
        "samples": tally.samples,
    }


def _paragraph(kind: Kind, tally: Tally) -> Iterator[str]:
    group = f", group {kind.group}" if kind.group else ""
    exception = f", {kind.exception}" if kind.exception else ""
    yield f"{kind.reason}: {tally.count:,} from service {kind.service}{group}{exception}"
    yield f"  {iso_of(tally.first_ms)} to {iso_of(tally.last_ms)}"
    for place, found in sorted(tally.places.items()):
        yield f"  {place}: {found.count:,} between {found.first} and {found.last}"
    if tally.elsewhere:
        yield f"  and {tally.elsewhere:,} elsewhere"
    if tally.cut:
        yield f"  of {tally.cut:,} only the beginning was kept"
    for sample in tally.samples:
        yield f"  e.g. {sample['origin']}: {sample['message']}"
        yield f"       {sample['value']}"


def _by_reason(kinds: Mapping[Kind, Tally]) -> str:
    counts: Counter[str] = Counter()
    for kind, tally in kinds.items():
        counts[kind.reason] += tally.count
    return f" ({', '.join(f'{reason}: {count:,}' for reason, count in counts.most_common())})"
