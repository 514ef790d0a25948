"""The sinks. A new one is a file beside this one and a line in the table; the tests of all sinks take it from here."""

from __future__ import annotations

from services.consumer.sinks.alerts.sink import AlertsSink
from services.consumer.sinks.archive import ArchiveSink
from services.consumer.sinks.base import SinkTable
from services.consumer.sinks.handler import HandlerSink
from services.consumer.sinks.kafka import KafkaSink
from services.consumer.sinks.stdout import StdoutSink

SINKS: SinkTable = {
    "stdout": StdoutSink.from_settings,
    "archive": ArchiveSink.from_settings,
    "handler": HandlerSink.from_settings,
    "kafka": KafkaSink.from_settings,
    "alerts": AlertsSink.from_settings,
}
