"""The two works with dead letters: read and count them; show, ask and send them."""

from __future__ import annotations

import time

from services.consumer.letters.resend import GroupPlan, Report
from services.consumer.letters.selection import Selection, is_marker, letter_of
from services.consumer.letters.summary import Summary
from shared.kafka import scan
from shared.runtime.settings import KafkaSettings
from shared.tools import resending
from shared.tools.command import confirmed, require_terminal, say
from shared.tools.progress import Progress


async def summarise(settings: KafkaSettings, selection: Selection, max_samples: int) -> Summary:
    """All dead letters that are meant. Raises BrokerUnavailable and the like."""
    topic = settings.kafka_dead_letter_topic
    summary = Summary(max_samples)
    held = await scan.spans(settings, topic)
    if selection.since_ms is not None:
        held = await scan.since(settings, topic, held, selection.since_ms)
    progress = Progress("dead letters", sum(span.size for span in held.values()), "records", time.monotonic)
    async for batch in scan.scan(settings, topic, held, committed_only=True):
        for record in batch.records:
            letter = letter_of(record)
            if letter is None:
                summary.markers += is_marker(record.headers)
                summary.strangers += not is_marker(record.headers)
            elif selection.takes(letter, record.timestamp):
                summary.add(letter, batch.partition, record.offset, record.timestamp)
        progress.add(len(batch.records))
    progress.finish()
    return summary


async def replay(settings: KafkaSettings, group: str, selection: Selection, *, yes: bool) -> Report | None:
    """Send the group's letters to it again; None when there was nothing to send or the person said no.

    Raises FatalError, or RetryableError when it could not be done after several attempts.
    """
    require_terminal(yes=yes)
    topics = (settings.kafka_topic, settings.kafka_dead_letter_topic)
    if not yes:
        preview = GroupPlan(*topics, group, selection)
        await resending.look(settings, preview)
        say("\n".join(preview.report.preview()))
        if not preview.report.chosen or not confirmed(f"Group {group} gets them again, other groups pass them over."):
            return None
    plan = GroupPlan(*topics, group, selection)
    await resending.send(settings, f"replay-to-group-{settings.kafka_dead_letter_topic}-{group}", plan)
    return plan.report
