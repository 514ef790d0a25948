"""Every metric of this service. docs/metrics.md lists them; a test compares."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_PREFIX = "nginx_pipeline_consumer_"
_BATCH_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Registered on the registry it is given. The methods take a partition's number and fill in the other labels."""

    def __init__(self, registry: CollectorRegistry, group: str, topic: str) -> None:
        self._place = (group, topic)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, meaning, ("consumergroup", *labels), registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(_PREFIX + name, meaning, ("consumergroup", *labels), registry=registry)

        place = ("topic", "partition")
        self._received = counter("records_received", "Records polled.", *place)
        self._processed = counter("records_processed", "Records that the sink has taken.", *place)
        self._dead_lettered = counter("records_dead_lettered", "Records set aside as dead letters.", *place, "reason")
        self._skipped = counter("records_skipped", "Records left out on purpose.", *place, "reason")
        self._filter_failed = counter("records_filter_failed", "Records that WHERE could not be asked about.", *place)
        self._lag_records = gauge("lag_records", "Records behind the end; absent while unknown.", *place)
        self._lag_seconds = gauge(
            "lag_seconds", "Age of the last processed record while others wait, else 0; absent while unknown.", *place
        )
        self._errors = counter("errors", "Times that something became unavailable.", "kind")
        commits = counter("commits", "Commits by outcome.", "outcome")
        self.commits_done = commits.labels(group, "committed")
        self.commits_lost = commits.labels(group, "ownership_lost")
        self.commits_failed = commits.labels(group, "failed")
        self.rebalances = counter("rebalances", "Assignments received.").labels(group)
        self.sink_retries = counter("sink_retries", "Attempts that failed and were repeated.").labels(group)
        self.assigned_partitions = gauge("assigned_partitions", "Partitions of this replica.").labels(group)
        self.in_flight_records = gauge("in_flight_records", "Records polled and not yet taken.").labels(group)
        self._alarms = counter("alarms", "Alarms raised by SINK=alerts, by rule.", "rule")
        self._alarms_settled = counter("alarms_settled", "Alarms that the webhook waits for no more.", "outcome")
        self._alarms_pending = gauge("alarms_pending", "Alarms that wait for the webhook; absent for other sinks.")
        self._alert_records_left_out = counter(
            "alert_records_left_out", "Records that no window counts, or not all of them.", "reason"
        )
        self.batch_seconds = Histogram(
            _PREFIX + "batch_seconds",
            "Time of one batch from poll to taken by the sink.",
            ("consumergroup",),
            buckets=_BATCH_SECONDS_BUCKETS,
            registry=registry,
        ).labels(group)

    def received(self, partition: int, count: int) -> None:
        self._received.labels(*self._place, partition).inc(count)

    def processed(self, partition: int, count: int) -> None:
        self._processed.labels(*self._place, partition).inc(count)

    def dead_lettered(self, partition: int, reason: str) -> None:
        self._dead_lettered.labels(*self._place, partition, reason).inc()

    def skipped(self, partition: int, reason: str, count: int) -> None:
        self._skipped.labels(*self._place, partition, reason).inc(count)

    def filter_failed(self, partition: int, count: int) -> None:
        self._filter_failed.labels(*self._place, partition).inc(count)

    def error(self, kind: str) -> None:
        self._errors.labels(self._place[0], kind).inc()

    def alarm_raised(self, rule: str) -> None:
        self._alarms.labels(self._place[0], rule).inc()

    def alarm_settled(self, outcome: str) -> None:
        self._alarms_settled.labels(self._place[0], outcome).inc()

    def alarms_pending(self, count: int) -> None:
        self._alarms_pending.labels(self._place[0]).set(count)

    def alert_records_left_out(self, reason: str, count: int) -> None:
        self._alert_records_left_out.labels(self._place[0], reason).inc(count)

    def lag(self, partition: int, records: int | None, seconds: float | None) -> None:
        """None removes the series: unknown is not zero."""
        for gauge, value in ((self._lag_records, records), (self._lag_seconds, seconds)):
            if value is not None:
                gauge.labels(*self._place, partition).set(value)
            else:
                self._remove(gauge, partition)

    def _remove(self, gauge: Gauge, partition: int) -> None:
        gauge.remove_by_labels({"consumergroup": self._place[0], "topic": self._place[1], "partition": str(partition)})
