"""Mutations of the delivery: each does what a careless change would do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiokafka.producer.sender import Sender

from services.producer.chunk import Chunk, KnownFile
from services.producer.deliver.progress import Progress
from services.producer.deliver.session import ExactlyOnceSessions
from services.producer.parse import ChunkParser, ParsedChunk
from shared.kafka import producer as kafka_producer
from shared.kafka.producer import Batch, BatchPublisher, DeliveryReport
from shared.runtime.settings import KafkaSettings

DROPPED = 10_000


def checkpoint_before_confirmation() -> None:
    """A chunk counts as confirmed as soon as it was read."""
    begin, confirm = Progress.begin, Progress.confirm

    def begin_and_confirm(self: Progress, chunk: Chunk) -> None:
        begin(self, chunk)
        confirm(self, chunk)

    Progress.begin = begin_and_confirm  # type: ignore[method-assign]
    Progress.confirm = lambda self, chunk: None  # type: ignore[method-assign]


def swallowed_send_error() -> None:
    """A batch that failed is reported as confirmed."""
    send = BatchPublisher.send

    async def send_and_swallow(
        self: BatchPublisher,
        batch: Batch,
        topic: str,
        partition: int,
        timeout_s: float,
        on_report: Callable[[DeliveryReport], None],
    ) -> None:
        await send(self, batch, topic, partition, timeout_s, lambda report: on_report(replace(report, error=None)))

    BatchPublisher.send = send_and_swallow  # type: ignore[method-assign]


def every_10000th_line_dropped() -> None:
    """One value of ten thousand never leaves the parser."""
    parse = ChunkParser.parse
    parsed_lines = 0

    def parse_and_drop(self: ChunkParser, chunk: Chunk) -> ParsedChunk:
        nonlocal parsed_lines
        parsed = parse(self, chunk)
        for index in reversed(range(len(parsed.values))):
            parsed_lines += 1
            if parsed_lines % DROPPED == 0:
                for column in (parsed.values, parsed.addresses, parsed.offsets):
                    del column[index]
        return parsed

    ChunkParser.parse = parse_and_drop  # type: ignore[method-assign]


def acks_0() -> None:
    """Sent counts as confirmed."""
    make = Sender.__init__

    def make_careless(self: Sender, client: object, **options: Any) -> None:
        make(self, client, **{**options, "acks": 0})

    Sender.__init__ = make_careless


def fence_left_out() -> None:
    """A plain idempotent producer: what a dead predecessor has under way may still be appended."""

    async def raise_no_fence(
        _settings: KafkaSettings, _transactional_id: str, _topics: Sequence[str]
    ) -> tuple[int, int]:
        return -1, -1

    absent = {
        "raise_fence": raise_no_fence,
        "fenced_options": lambda _id: {},
        "require_next_epoch": lambda _client, _id, _epoch: None,
        "leave_transactions": lambda _client: None,
    }
    for name, nothing in absent.items():
        setattr(kafka_producer, name, nothing)


def tail_not_read() -> None:
    """What the topics hold behind the checkpoint is not looked for."""

    async def read_nothing(*_what: object) -> None:
        return

    ExactlyOnceSessions._read_tails = read_nothing  # type: ignore[assignment, method-assign]


def committed_without_the_checkpoint() -> None:
    """Where to look moves on with each save, but the positions of the files are those of the save before."""
    snapshot = Progress.snapshot
    before: list[KnownFile] = []

    def snapshot_late(self: Progress) -> list[KnownFile]:
        nonlocal before
        now = snapshot(self)
        before, late = now, before
        return late or now

    Progress.snapshot = snapshot_late  # type: ignore[method-assign]


MUTATIONS: Mapping[str, Callable[[], None]] = {
    mutation.__name__: mutation
    for mutation in (
        checkpoint_before_confirmation,
        swallowed_send_error,
        every_10000th_line_dropped,
        acks_0,
        fence_left_out,
        tail_not_read,
        committed_without_the_checkpoint,
    )
}
