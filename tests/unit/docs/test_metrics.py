"""docs/metrics.md lists what /metrics answers, no more and no less."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from services.consumer.metrics import Metrics
from services.producer.metrics import ProducerMetrics
from tests.unit.docs.pages import names, rows

# A counter's name ends so where it is printed.
SUFFIXES = {"counter": "_total"}


class ListingRegistry(CollectorRegistry):
    """Keeps what is registered, to be asked for its labels."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[Collector] = []

    def register(self, collector: Collector) -> None:
        self.registered.append(collector)
        super().register(collector)


def printed(service: str, registry: ListingRegistry) -> set[tuple[str, str, str, str]]:
    """Name, type, labels and service of every metric."""
    found = set()
    for collector in registry.registered:
        [family] = collector.collect()
        labels = ", ".join(getattr(collector, "_labelnames", ()))
        found.add((family.name + SUFFIXES.get(family.type, ""), family.type, labels, service))
    return found


def test_every_metric_is_listed_with_its_labels_and_nothing_else_is() -> None:
    """A dashboard made from the table works."""
    of_producer, of_consumer = ListingRegistry(), ListingRegistry()
    ProducerMetrics(of_producer)
    Metrics(of_consumer, "group", "topic")
    documented = [
        (names(metric)[0], kind, labels, service)
        for metric, kind, labels, service, _meaning in rows("metrics.md", "metric")
    ]
    assert len(documented) == len(set(documented))
    assert set(documented) == printed("producer", of_producer) | printed("consumer", of_consumer)
