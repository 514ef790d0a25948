"""The plan for one consumer group: its dead letters go to the topic again, for that group alone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.consumer.letters.selection import Selection, letter_of
from services.consumer.letters.summary import sample_of
from shared.kafka.partitioner import partition_of_key
from shared.kafka.records import ReceivedRecord
from shared.kafka.transactions import Outgoing
from shared.schemas import DeadLetter
from shared.schemas.dead_letter import Headers
from shared.schemas.headers import REPLAY_FOR_HEADER
from shared.tools.marks import RESOLVED
from shared.tools.ranges import Ranges
from shared.tools.resending import Resend, Target

MAX_SAMPLES = 3
# Of a header besides its name and value.
HEADER_OVERHEAD_BYTES = 16
# What says on a marker which record of which group it was: the group, and where the record stood.
_IDENTITY = ("dlt-original-topic", "dlt-original-partition", "dlt-original-offset", "dlt-original-consumer-group")


@dataclass
class Report:
    """What became of the group's letters. Each is named by the record that it was made of."""

    sent: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)
    sent_before: int = 0
    doubled: int = 0
    left: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """The letters are read from the first one again; what was sent stays sent."""
        self.sent_before = -self.sent.total()  # they are found marked now
        self.doubled = 0
        for counts in (self.chosen, self.left):
            counts.clear()
        self.samples.clear()

    def preview(self) -> Iterator[str]:
        """In words, before anything is sent."""
        yield f"To be sent: {self.chosen.total():,}{_counted(self.chosen)}."
        yield from (f"  e.g. {sample}" for sample in self.samples)
        yield from self._rest()

    def lines(self) -> Iterator[str]:
        """In words, afterwards."""
        if self.sent:
            yield f"Sent: {self.sent.total():,}{_counted(self.sent)}."
        elif self.sent_before or self.left:
            yield "Nothing was sent."
        else:
            yield "Nothing was sent: the group has no dead letters of this selection."
        yield from self._rest()

    def _rest(self) -> Iterator[str]:
        if self.sent_before:
            yield f"Sent by earlier runs: {self.sent_before:,}."
        if self.doubled:
            yield f"Letters of a record that another letter tells of too, which is sent once: {self.doubled:,}."
        for why, count in self.left.most_common():
            yield f"Not sent: {count:,}, because {why}."


def _counted(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{reason}: {count:,}' for reason, count in counts.most_common())})" if counts else ""


class _Records:
    """Records of the topic, by partition and offset; those that adjoin cost as much as one."""

    def __init__(self) -> None:
        self._offsets: dict[int, Ranges] = {}

    def add(self, partition: int, offset: int) -> None:
        self._offsets.setdefault(partition, Ranges()).add(offset, offset + 1)

    def __contains__(self, place: tuple[int, int]) -> bool:
        partition, offset = place
        return partition in self._offsets and offset in self._offsets[partition]


class GroupPlan:
    """See shared.tools.resending.Plan."""

    def __init__(self, topic: str, dead_letter_topic: str, group: str, selection: Selection) -> None:
        self._topic = topic
        self._dead_letter_topic = dead_letter_topic
        self._group = group
        self._selection = selection
        self.report = Report()

    def begin(self, target: Target) -> None:
        self.report.begin()
        self._target = target
        self._marked = _Records()
        self._taken = _Records()

    def note_marker(self, headers: Headers) -> None:
        found = dict(headers)
        if RESOLVED not in found or not all(name in found for name in _IDENTITY):
            return
        topic, partition, offset, group = (found[name] for name in _IDENTITY)
        if (topic, group) == (self._topic.encode(), self._group.encode()):
            self._marked.add(int(partition), int(offset))

    def take(self, partition: int, record: ReceivedRecord) -> Resend | None:
        letter = letter_of(record)
        if letter is None or letter.original_consumer_group != self._group:
            return None
        if not self._selection.takes(letter, record.timestamp):
            return None
        refused = self._refusal(letter)
        if refused:
            self.report.left[refused] += 1
            return None
        place = (letter.original_partition or 0, letter.original_offset or 0)
        if place in self._marked:
            self.report.sent_before += 1
            return None
        if place in self._taken:
            self.report.doubled += 1
            return None
        self._taken.add(*place)
        self.report.chosen[letter.reason.value] += 1
        return self._resend(letter, partition, record.offset)

    def _refusal(self, letter: DeadLetter) -> str | None:
        """Why a letter cannot be sent; None when it can."""
        if letter.original_topic != self._topic:
            return f"they come from another topic, {letter.original_topic}"
        if letter.original_partition is None or letter.original_offset is None:
            return "they do not say which record they were"
        if letter.raw_length > len(letter.raw):
            return "only the beginning of the value was kept"
        size = len(letter.raw) + len(letter.key or b"")
        size += sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in self._headers())
        if size > self._target.max_record_bytes:
            return f"they are larger than the topic takes, {self._target.max_record_bytes} bytes"
        return None

    def _headers(self) -> list[tuple[str, bytes]]:
        return [(REPLAY_FOR_HEADER, self._group.encode()), *self._target.mark]

    def _resend(self, letter: DeadLetter, partition: int, offset: int) -> Resend:
        place = f"{partition}/{offset}"
        if len(self.report.samples) < MAX_SAMPLES:
            sample = sample_of(letter, place)
            text = f"{sample['origin']}: {sample['message']}: {sample['value']}"
            self.report.samples.append(text.replace("\n", "\\n"))
        record = Outgoing(self._topic, self._partition(letter), letter.key, letter.raw, self._headers())
        identity = [pair for pair in letter.headers() if pair[0] in _IDENTITY]
        marker_headers = [(RESOLVED, place.encode()), *identity, *self._target.mark]
        marker = Outgoing(self._dead_letter_topic, partition, letter.key, b"", marker_headers)
        return Resend(letter.reason.value, record, marker)

    def _partition(self, letter: DeadLetter) -> int:
        """The original one; where the topic has fewer partitions now, that of the key."""
        count, original = self._target.partition_count, letter.original_partition or 0
        if original < count:
            return original
        return partition_of_key(letter.key, count) if letter.key else original % count

    def on_sent(self, reasons: Counter[str]) -> None:
        self.report.sent.update(reasons)
