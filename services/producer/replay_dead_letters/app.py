"""The plan for this host's lines: dead letters that parse now become records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from services.producer.deliver.partition import Partitioner
from services.producer.replay_dead_letters.letters import Line, Report, Resolved, line_of, parse_again, refusal
from services.producer.settings import ProducerSettings
from shared.kafka.records import ReceivedRecord
from shared.kafka.transactions import Outgoing
from shared.schemas import DeadLetterReason
from shared.schemas.dead_letter import Headers
from shared.tools import resending
from shared.tools.command import confirmed, require_terminal, say
from shared.tools.resending import Resend, Target


async def replay_dead_letters(
    settings: ProducerSettings, reasons: Collection[DeadLetterReason], *, yes: bool
) -> Report | None:
    """Every dead letter that is a record now becomes one; None when the person said no.

    Raises FatalError, or RetryableError when it could not be done after several attempts.
    """
    require_terminal(yes=yes)
    if not yes:
        preview = LinePlan(settings, reasons)
        await resending.look(settings, preview)
        say("\n".join(preview.report.preview(preview.count)))
        if not preview.count or not confirmed("They become records, and consumers get them."):
            return None
    plan = LinePlan(settings, reasons)
    fence = f"replay-dead-letters-{settings.kafka_dead_letter_topic}-{settings.source_host}"
    await resending.send(settings, fence, plan)
    return plan.report


class LinePlan:
    """See shared.tools.resending.Plan."""

    def __init__(self, settings: ProducerSettings, reasons: Collection[DeadLetterReason]) -> None:
        self._settings = settings
        self._reasons = reasons
        self._parser = settings.make_parser()
        self.report = Report()
        self.count = 0

    def begin(self, target: Target) -> None:
        self.report.begin()
        self.count = 0
        self._resolved = Resolved()
        self._target = target
        self._partitioner = Partitioner(self._settings.partition_by, target.partition_count)

    def note_marker(self, headers: Headers) -> None:
        self._resolved.add_marker(headers, self._settings.source_host)

    def take(self, partition: int, record: ReceivedRecord) -> Resend | None:
        place = (partition, record.offset)
        line = line_of(record.value or b"", record.key, record.headers, self._settings.source_host, place)
        if line is None or line.letter.reason not in self._reasons:
            return None
        if (line.generation, line.offset) in self._resolved:
            self.report.resolved_before += 1
            return None
        made = refusal(line) or self._record_of(line)
        if isinstance(made, str):
            self.report.keep(line, made)
            return None
        letter = line.letter
        self._resolved.add(line.generation, line.offset, letter.raw_length)
        self.count += 1
        marker_headers = [*line.marker_headers(), *self._target.mark]
        marker = Outgoing(self._settings.kafka_dead_letter_topic, line.partition, letter.key, b"", marker_headers)
        return Resend(letter.reason.value, made, marker)

    def _record_of(self, line: Line) -> Outgoing | str:
        """The record of a line; or why it is none still."""
        parsed = parse_again(self._parser, line)
        if not parsed.values:
            return parsed.rejects[0].message if parsed.rejects else "the line is blank"
        [value], [partition], [key] = parsed.values, *self._partitioner.assign(parsed)
        if len(value) + len(key or b"") > self._target.max_record_bytes:
            return f"its record has {len(value)} bytes, the topic takes {self._target.max_record_bytes}"
        return Outgoing(self._settings.kafka_topic, partition, key, value, self._target.mark)

    def on_sent(self, reasons: Counter[str]) -> None:
        self.report.sent.update(reasons)
