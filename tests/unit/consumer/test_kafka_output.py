"""What SINK=kafka holds of a partition, and what it makes of what the group has committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.kafka import KafkaSink, PartitionOutput
from services.topics.app import topic_specs
from services.topics.settings import TopicsSettings
from shared.errors import BrokerUnavailable, Fenced, InvalidSettings, OwnershipLost, SinkUnavailable
from shared.kafka.transactions import GroupOffsets, Outgoing, TransactionalPublisher
from shared.runtime.settings import load_settings
from tests.unit.consumer.records import batch


def outgoing(number: int) -> Outgoing:
    return Outgoing("sent", 0, b"key", b"%d" % number, [("original-offset", b"%d" % number)])


def output(*offsets: int, next_offset: int, committed_to: int | None = None) -> PartitionOutput:
    made = PartitionOutput("nginx_logs", 3, committed_to=committed_to)
    made.hold([(offset, outgoing(offset)) for offset in offsets], next_offset)
    return made


def test_what_is_committed_is_let_go_and_the_rest_is_kept() -> None:
    held = output(0, 1, 5, next_offset=7)
    held.undecided = 5
    held.settle(5)
    assert held.undecided is None
    assert held.offsets == [5]
    assert held.records == [outgoing(5)]
    assert held.held_bytes == output(5, next_offset=7).held_bytes > 0
    assert (held.committed_to, held.covered_to) == (5, 7)
    held.settle(9)
    assert (held.records, held.held_bytes, held.covered_to) == ([], 0, None)


def test_a_transaction_that_was_committed_after_all_is_not_sent_again() -> None:
    held = output(0, 1, next_offset=2)
    held.undecided = 2
    held.hold([(2, outgoing(2))], 3)
    held.decide(2)
    assert held.offsets == [2]
    assert (held.committed_to, held.covered_to) == (2, 3)
    assert held.undecided is None


@pytest.mark.parametrize("before", [None, 5])
def test_a_transaction_that_was_not_committed_is_sent_again(before: int | None) -> None:
    held = output(5, 6, next_offset=7, committed_to=before)
    held.undecided = 7
    held.decide(before)
    assert held.offsets == [5, 6]
    assert (held.committed_to, held.covered_to) == (before, 7)


@pytest.mark.parametrize("found", [None, 3, 6, 8])
def test_an_offset_that_is_not_its_own_is_another_replicas(found: int | None) -> None:
    held = output(5, 6, next_offset=7, committed_to=5)
    held.undecided = 7
    with pytest.raises(OwnershipLost, match="another one has gone on"):
        held.decide(found)
    assert held.lost


async def test_a_start_that_another_replica_overtakes_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predecessor may start its client anew at the same moment: that is no reason to end this process."""

    async def overtaken(*_arguments: object) -> TransactionalPublisher:
        raise Fenced("another producer of this name took over")

    async def limit(*_arguments: object) -> int:
        return 1_000_000

    monkeypatch.setattr("services.consumer.sinks.kafka.max_message_bytes", limit)
    monkeypatch.setattr(TransactionalPublisher, "start", overtaken)
    sink = KafkaSink.from_settings(ConsumerSettings(service_name="test", sink="kafka", kafka_sink_topic="sent"))
    with pytest.raises(SinkUnavailable, match="took over"):
        await sink.resume("nginx_logs", [3])


class Publisher:
    """Transactions whose outcome the test decides."""

    max_record_bytes = 1_000_000

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.is_closed = False
        self.on_publish: Callable[[], None] | None = None

    def partition_count(self, _topic: str) -> int:
        return 8

    async def committed(self, _group: str, _topic: str, _partition: int) -> int | None:
        return None

    async def publish(self, records: Sequence[Outgoing], _offsets: GroupOffsets) -> None:
        if self.on_publish is not None:
            self.on_publish()
        self.sent.append(len(records))

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def publishers(monkeypatch: pytest.MonkeyPatch) -> list[Publisher]:
    started: list[Publisher] = []

    async def start(*_arguments: object) -> Publisher:
        started.append(Publisher())
        return started[-1]

    async def limit(*_arguments: object) -> int:
        return 1_000_000

    monkeypatch.setattr("services.consumer.sinks.kafka.max_message_bytes", limit)
    monkeypatch.setattr(TransactionalPublisher, "start", start)
    return started


async def resumed() -> KafkaSink:
    settings = ConsumerSettings(service_name="test", sink="kafka", kafka_sink_topic="sent", kafka_sink_buffer_bytes=1)
    sink = KafkaSink.from_settings(settings)
    await sink.resume("nginx_logs", [3])
    return sink


async def test_room_is_made_before_more_is_held(publishers: list[Publisher]) -> None:
    """When that fails the batch is not taken: it comes again."""
    sink = await resumed()
    await sink.write(batch(0, 5))

    def fail() -> None:
        raise BrokerUnavailable("no answer")

    publishers[0].on_publish = fail
    with pytest.raises(SinkUnavailable):
        await sink.write(batch(5, 5))
    await sink.write(batch(5, 5))
    assert [one.sent for one in publishers] == [[], [5]]
    await sink.flush()
    assert publishers[1].sent == [5, 5]


async def test_a_name_that_another_replica_has_taken_is_not_started_again(publishers: list[Publisher]) -> None:
    """That would end what the other one does."""
    sink = await resumed()
    await sink.write(batch(0, 5))

    def fence() -> None:
        raise Fenced("another producer of this name took over")

    publishers[0].on_publish = fence
    for _ in range(2):
        with pytest.raises(OwnershipLost):
            await sink.flush()
    assert len(publishers) == 1


async def test_the_client_of_a_partition_that_goes_in_a_transaction_is_closed(publishers: list[Publisher]) -> None:
    sink = await resumed()
    await sink.write(batch(0, 5))
    publishers[0].on_publish = lambda: sink.forget([3])
    await sink.flush()
    await sink.close()
    assert publishers[0].is_closed


@pytest.mark.parametrize(
    ("settings", "because"),
    [
        ({"SINK": "kafka"}, "SINK=kafka needs KAFKA_SINK_TOPIC"),
        ({"KAFKA_SINK_TOPIC": "nginx_logs"}, "they must be two topics"),
        ({"KAFKA_SINK_TOPIC": "nginx_logs_dead_letters"}, "they must be two topics"),
        ({"TRANSFORM": "sideways"}, "one of copy, errors, anonymise"),
        ({"SAMPLE_RATIO": "0"}, "SAMPLE_RATIO='0' is not allowed"),
        ({"SAMPLE_RATIO": "1.5"}, "SAMPLE_RATIO='1.5' is not allowed"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], because: str
) -> None:
    monkeypatch.setenv("SERVICE_NAME", "test")
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(InvalidSettings, match=because):
        load_settings(ConsumerSettings)


def test_the_topics_service_makes_the_topic_like_that_of_the_records() -> None:
    records, _dead_letters, sent, _state = topic_specs(TopicsSettings(kafka_sink_topic="sent"))
    assert sent.name == "sent"
    assert (sent.partition_count, sent.settings) == (records.partition_count, records.settings)
    assert "sent" not in {spec.name for spec in topic_specs(TopicsSettings())}
    with pytest.raises(ValueError, match="they must be two topics"):
        TopicsSettings(kafka_sink_topic="nginx_logs_state")
