"""Publishes numbered records at a rate, and notes where each one stands once the broker has confirmed it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

TICK_S = 0.02
FLUSH_S = 60.0


class Publisher:
    """As a context: publishes until it is left, and then waits for every confirmation.

    `value_of` makes a value of a number, `value_at` replaces single ones, for poison.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, partitions: int, per_s: int, value_of: Callable[[int], bytes]
    ) -> None:
        self._topic = topic
        self._value_of = value_of
        self._partitions = partitions
        self._per_s = per_s
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )
        self.places: dict[int, tuple[int, int]] = {}
        self.confirmed_at_s: dict[int, float] = {}
        self.value_at: dict[int, bytes | None] = {}
        self._next = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run_thread, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """No more; returns when all that was published is confirmed."""
        self._stopping.set()
        self._thread.join(FLUSH_S)
        assert self._producer.flush(FLUSH_S) == 0, "the broker has not confirmed every record"

    @property
    def count(self) -> int:
        """Confirmed records."""
        return len(self.places)

    @property
    def ends(self) -> dict[int, int]:
        """By partition, the offset behind the last confirmed record."""
        ends: dict[int, int] = {}
        for partition, offset in list(self.places.values()):
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends

    def burst(self, count: int) -> None:
        """So many at once, besides those of the rate. Call it before the context is entered."""
        for _ in range(count):
            self._publish_one()
        assert self._producer.flush(FLUSH_S) == 0

    def _run_thread(self) -> None:
        began_s, already = time.monotonic(), self._next
        while not self._stopping.wait(TICK_S):
            due = already + int((time.monotonic() - began_s) * self._per_s)
            while self._next < due:
                self._publish_one()
            self._producer.poll(0)

    def _publish_one(self) -> None:
        number, self._next = self._next, self._next + 1
        value = self.value_at[number] if number in self.value_at else self._value_of(number)
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    key=b"192.0.2.1",
                    partition=number % self._partitions,
                    on_delivery=self._note(number),
                )
            except BufferError:
                self._producer.poll(TICK_S)
            else:
                return

    def _note(self, number: int) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            assert error is None, f"record {number} was not confirmed: {error}"
            self.places[number] = (int(message.partition() or 0), int(message.offset() or 0))
            self.confirmed_at_s[number] = time.monotonic()

        return on_delivery
