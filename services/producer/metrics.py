"""Every metric of the producer. No label ever holds a path or an address."""

from __future__ import annotations

from collections import Counter as TallyOf

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.producer.ledger import Account, fate_in_bytes, fate_in_lines
from services.producer.parse import ParsedChunk
from shared.kafka.producer import DeliveryReport

PREFIX = "nginx_pipeline_producer"


class ProducerMetrics:
    """Made once per process by `app.py`, given to whoever counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, registry=registry)

        self.read_bytes = counter("read_bytes", "Bytes of whole lines that were read.")
        self.read_lines = counter("read_lines", "Lines that were read.")
        self.settled_bytes = counter("settled_bytes", "Bytes by what became of them.", "state")
        self.settled_lines = counter("settled_lines", "Lines by what became of them.", "state")
        self.records = counter("records", "Records confirmed by the broker.")
        self.dead_letters = counter("dead_letters", "Lines confirmed in the dead-letter topic.", "reason")
        self.blank_lines = counter("blank_lines", "Blank lines, which are skipped.")
        self.batches = counter("batches", "Batches confirmed by the broker.", "topic")
        self.delivery_errors = counter("delivery_errors", "Batches that were not confirmed.", "error")
        self.sessions = counter("kafka_sessions", "Sessions with Kafka begun, the first one included.")
        self.already_delivered = counter("already_delivered", "Lines that a topic was found to hold already.")
        self.checkpoints = counter("checkpoints", "Checkpoints written.")
        self.checkpoint_errors = counter("checkpoint_errors", "Checkpoints that could not be written.")
        self.file_events = counter("file_events", "What happened to files, by the event's name.", "event")
        self.delivery_latency = Histogram(
            f"{PREFIX}_delivery_seconds",
            "Seconds from queueing a batch to its confirmation.",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.files = gauge("files", "Files that are followed.")
        self.unread_bytes = gauge("unread_bytes", "Bytes in followed files that were not read yet.")
        self.in_flight_bytes = gauge("in_flight_bytes", "Bytes that were read and are not settled.")
        self.in_flight_lines = gauge("in_flight_lines", "Lines that were read and are not settled.")
        self.stuck_files = gauge("stuck_files", "Files with bytes that do not move.")
        self.stuck_seconds = gauge("stuck_seconds", "For how long the longest-stuck file does not move.")
        self.connected = gauge("connected", "1 while there is a working Kafka client.")

    def on_checkpoint(self, saved: bool) -> None:
        """A checkpoint was written, or could not be."""
        (self.checkpoints if saved else self.checkpoint_errors).inc()

    def on_report(self, report: DeliveryReport) -> None:
        """A delivery report came back."""
        self.delivery_latency.observe(report.latency_s)
        if report.error is None:
            self.batches.labels(report.topic).inc()
        else:
            self.delivery_errors.labels(type(report.error).__name__).inc()

    def show_in_flight(self, totals: Account) -> None:
        """Both gauges are read from the ledger at each scrape, so that the equation holds there too."""
        self.in_flight_bytes.set_function(lambda: totals.bytes.in_flight)
        self.in_flight_lines.set_function(lambda: totals.lines.in_flight)

    def on_read(self, parsed: ParsedChunk) -> None:
        """A chunk was read."""
        self.read_bytes.inc(parsed.chunk.end - parsed.chunk.start)
        self.read_lines.inc(fate_in_lines(parsed).total)

    def on_abandoned(self, lost_bytes: int) -> None:
        """Bytes are gone that were not read; they count as read, as in the ledger."""
        self.read_bytes.inc(lost_bytes)
        self.settled_bytes.labels("abandoned").inc(lost_bytes)

    def on_confirmed(self, parsed: ParsedChunk) -> None:
        """Every line of a chunk is confirmed."""
        for counter, fate in ((self.settled_bytes, fate_in_bytes(parsed)), (self.settled_lines, fate_in_lines(parsed))):
            counter.labels("confirmed").inc(fate.confirmed)
            counter.labels("dead_lettered").inc(fate.dead_lettered)
            counter.labels("skipped").inc(fate.skipped)
        self.records.inc(len(parsed.values))
        self.blank_lines.inc(parsed.blank_line_count)
        self.already_delivered.inc(parsed.delivered_count)
        for reason, count in TallyOf(reject.reason for reject in parsed.rejects).items():
            self.dead_letters.labels(reason).inc(count)
