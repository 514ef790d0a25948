"""The audit from beginning to end: files, topic, checksums, a close look where they differ, the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from services.producer.audit.beside import Beside
from services.producer.audit.digests import (
    BLOCK_BYTES,
    Book,
    FileDigest,
    Suspicion,
    add_parsed,
    compare,
    place_of_letter,
    place_of_value,
)
from services.producer.audit.examine import Examination, Findings
from services.producer.audit.verdict import FileVerdict, Verdict
from services.producer.deliver.partition import Partitioner
from services.producer.parse import ParsedChunk
from services.producer.settings import ProducerSettings
from services.producer.tools.logs import Log, Logs
from services.producer.tools.newest import newest_checkpoint
from shared.errors import BrokerUnavailable
from shared.kafka.records import ReceivedRecord
from shared.kafka.scan import Span, scan, spans
from shared.tools.command import say
from shared.tools.marks import is_replayed
from shared.tools.progress import Progress
from shared.tools.ranges import Ranges

# Blocks that are looked at closely in one pass over the topic: bounds the memory, about 4 MB each.
MAX_EXAMINED_BLOCKS = 24
# Blocks whose lines are all there and say something else: as many are compared field by field.
MAX_COMPARED_BLOCKS = 24


@dataclass(frozen=True)
class Topic:
    """What one topic held when the audit began."""

    name: str
    spans: Mapping[int, Span]

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans.values())


async def audit(settings: ProducerSettings) -> Verdict:
    """Raises PipelineError when files, checkpoint or broker are not to be read."""
    started_at = time.monotonic()
    logs = Logs(settings, await newest_checkpoint(settings))
    try:
        for event in logs.warnings():
            details = ", ".join(f"{name}: {value}" for name, value in event.details.items())
            say(f"{event.path}: {event.name}, {details}")
        comparison = Comparison(settings, logs)
        with closing(Beside(comparison.digest_files)) as files:
            await comparison.digest(files)
        await comparison.examine()
        return comparison.verdict(time.monotonic() - started_at)
    finally:
        logs.close()


async def _topic(settings: ProducerSettings, name: str) -> Topic:
    found = await spans(settings, name)
    if not found:
        raise BrokerUnavailable(f"topic {name} does not exist; the `topics` service makes it")
    return Topic(name, found)


class Comparison:
    """`digest`, then `examine`, then `verdict`."""

    def __init__(self, settings: ProducerSettings, logs: Logs) -> None:
        self._settings = settings
        self._logs = logs
        self._topics: Sequence[Topic] = ()
        self._parser = settings.make_parser()
        self._by_generation = {log.identity.generation: log for log in logs.found}
        self._expected = {generation: FileDigest(log.end) for generation, log in self._by_generation.items()}
        self._found = {generation: FileDigest(log.end) for generation, log in self._by_generation.items()}
        self._findings = {generation: Findings() for generation in self._by_generation}
        self._book = Book(settings.source_host, self._found)

    def digest_files(self, add: Callable[[int], None]) -> dict[str, FileDigest]:
        """Checksums of every file. `add` is told of bytes. Raises OSError."""
        book = Book(self._settings.source_host, self._expected)
        for generation, log in self._by_generation.items():
            for chunk in self._logs.chunks(log):
                add_parsed(book, self._expected[generation], self._parser.parse(chunk))
                add(chunk.end - chunk.start)
        return self._expected

    async def digest(self, files: Beside[dict[str, FileDigest]]) -> None:
        """Checksums of the topic, and of the files when they are there too."""
        # The ends after the checkpoint: what that calls confirmed lies before them.
        names = (self._settings.kafka_topic, self._settings.kafka_dead_letter_topic)
        self._topics = [await _topic(self._settings, name) for name in names]
        await self._read_topics("topic", self._digest_records)
        total = sum(log.end for log in self._logs.found)
        self._expected = await files.result(Progress("files", total, "bytes", time.monotonic))

    async def _read_topics(self, what: str, use: Callable[[Topic, int, Sequence[ReceivedRecord]], None]) -> None:
        progress = Progress(what, sum(topic.size for topic in self._topics), "records", time.monotonic)
        for topic in self._topics:
            async for batch in scan(self._settings, topic.name, topic.spans):
                use(topic, batch.partition, batch.records)
                progress.add(len(batch.records))
        progress.finish()

    def _digest_records(self, topic: Topic, partition: int, records: Sequence[ReceivedRecord]) -> None:
        book = self._book
        book.add_values(
            [record.value for record in records if not record.headers and record.value is not None],
            topic.name,
            partition,
        )
        for record in records:
            if record.headers:
                self._digest_marked(topic, partition, record)

    def _digest_marked(self, topic: Topic, partition: int, record: ReceivedRecord) -> None:
        value = record.value or b""
        if is_replayed(record.headers):
            self._book.add_replayed(value, record.headers)
        elif topic.name == self._settings.kafka_topic:
            self._book.add_values([value], topic.name, partition)
        else:
            self._book.add_letter(value, record.headers, topic.name, partition)

    async def examine(self) -> None:
        """The blocks whose checksums differ, line by line; so many at a time as memory allows."""
        suspects = list(self._suspects())
        passes = [suspects[at : at + MAX_EXAMINED_BLOCKS] for at in range(0, len(suspects), MAX_EXAMINED_BLOCKS)]
        for number, share in enumerate(passes, start=1):
            await self._examine(share, f"looking closely, pass {number} of {len(passes)}")

    def _suspects(self) -> Iterator[tuple[Log, int]]:
        """What needs the topic once more; what does not is concluded here."""
        compared = 0
        for generation, log in self._by_generation.items():
            for suspicion in compare(self._expected[generation], self._found[generation]):
                compared += suspicion.contents_only
                if suspicion.absent:
                    self._conclude(log, self._examination(log, suspicion.block))
                elif suspicion.contents_only and compared > MAX_COMPARED_BLOCKS:
                    self._leave_unverified(log, suspicion)
                else:
                    yield log, suspicion.block

    def _leave_unverified(self, log: Log, suspicion: Suspicion) -> None:
        start = suspicion.block * BLOCK_BYTES
        self._findings[log.identity.generation].unverified.add(start, min(start + BLOCK_BYTES, log.end))

    def _examination(self, log: Log, block: int) -> Examination:
        start, end = block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES
        examination = Examination(self._parser, start, end)
        expected = self._expected[log.identity.generation].blocks.get(block)
        if expected is not None:
            for chunk in self._logs.chunks(log, expected.first):
                if chunk.start >= end:
                    break
                examination.add(self._parser.parse(chunk))
        return examination

    async def _examine(self, share: Sequence[tuple[Log, int]], what: str) -> None:
        open_ones = {(log.identity.generation, block): self._examination(log, block) for log, block in share}

        def look(topic: Topic, _partition: int, records: Sequence[ReceivedRecord]) -> None:
            is_letter = topic.name == self._settings.kafka_dead_letter_topic
            for record in records:
                if record.value is None or (record.headers and is_replayed(record.headers)):
                    continue
                place = place_of_letter(record.value, record.headers) if is_letter else place_of_value(record.value)
                if place is None or place.host != self._settings.source_host:
                    continue
                examination = open_ones.get((place.generation, place.offset // BLOCK_BYTES))
                if examination is not None and place.offset < self._by_generation[place.generation].end:
                    examination.see(place, is_letter=is_letter, findings=self._findings[place.generation])

        await self._read_topics(what, look)
        for log, block in share:
            self._conclude(log, open_ones[log.identity.generation, block])

    def _conclude(self, log: Log, examination: Examination) -> None:
        generation = log.identity.generation
        examination.conclude(self._findings[generation], partial(self._may_be_deleted, generation))

    def _may_be_deleted(self, generation: str, offset: int, parse: Callable[[], ParsedChunk]) -> bool:
        """Whether a line stands before all that its partition still holds of its file, and retention was there."""
        if not any(span.first for topic in self._topics for span in topic.spans.values()):
            return False
        records, letters = self._topics
        parsed = parse()
        topic = records if parsed.values else letters
        partitioner = Partitioner(self._settings.partition_by, len(topic.spans))
        partition = partitioner.assign(parsed)[0][0] if parsed.values else partitioner.assign_reject(parsed)
        lowest = self._found[generation].lowest.get((topic.name, partition))
        return topic.spans[partition].first > 0 and (lowest is None or offset < lowest)

    def verdict(self, seconds: float) -> Verdict:
        """What came out."""
        return Verdict(
            [self._file_verdict(log) for log in self._logs.found],
            self._logs.unseen(),
            self._book.of_other_hosts,
            self._book.of_other_files,
            self._book.foreign,
            seconds,
        )

    def _file_verdict(self, log: Log) -> FileVerdict:
        expected, found = (each[log.identity.generation] for each in (self._expected, self._found))
        findings = self._findings[log.identity.generation]
        if self._settings.start_at == "end":
            findings.missing, findings.skipped = _without_beginning(findings.missing)
        lines = expected.records + expected.letters
        return FileVerdict(log, lines, found.records, found.letters, found.replayed, findings)


def _without_beginning(missing: Ranges) -> tuple[Ranges, Ranges]:
    """The ranges but for one from byte 0, which a producer with START_AT=end never read; and that one."""
    rest, beginning = Ranges(), Ranges()
    for start, end in missing:
        (rest if start else beginning).add(start, end)
    return rest, beginning
