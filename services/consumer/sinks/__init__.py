"""The sinks. A new one is a file beside this one and a line in the table; the tests of all sinks take it from here."""

from __future__ import annotations

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.alerts.sink import AlertsSink
from services.consumer.sinks.base import Sink, SinkTable
from services.consumer.sinks.handler import HandlerSink
from services.consumer.sinks.kafka import KafkaSink
from services.consumer.sinks.stdout import StdoutSink


def _archive(settings: ConsumerSettings) -> Sink:
    # Not above: Arrow takes 40 MB of memory, and other sinks do not need it.
    from services.consumer.sinks.archive import ArchiveSink

    return ArchiveSink.from_settings(settings)


def _postgres(settings: ConsumerSettings) -> Sink:
    """Its client library is loaded by those who use it: that takes a tenth of a second."""
    from services.consumer.sinks.postgres import PostgresSink

    return PostgresSink.from_settings(settings)


SINKS: SinkTable = {
    "stdout": StdoutSink.from_settings,
    "archive": _archive,
    "handler": HandlerSink.from_settings,
    "kafka": KafkaSink.from_settings,
    "alerts": AlertsSink.from_settings,
    "postgres": _postgres,
}
