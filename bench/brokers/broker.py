"""What the comparison asks of a broker. The harness knows this file and no broker.

A `Broker` is a program on this machine: it starts, is killed, and holds data. Its `Client` is what an application uses;
programs of the comparison make one from an address, in processes of their own. A group is a consumer of everything; the
workers of a group share its messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

IN_FLIGHT = 200
"""Messages that are sent and not yet confirmed, and messages that a worker gets ahead of its acknowledgements."""
FEW_AHEAD = 10
"""What a worker gets ahead where it matters that another one may have the rest: what lies with one is out of reach."""
BATCH_SIZE = 100
"""The most messages that a worker acknowledges together."""


class BrokerLost(Exception):
    """The connection broke, or the broker refused. What was not confirmed may have arrived or not."""


class NotOffered(Exception):
    """The broker has no such thing; the message says what it has instead."""


class NotHere(Exception):
    """This machine lacks what a question needs; the message says how to get it."""


class Durability(StrEnum):
    """When a message counts as confirmed. Figures of two levels are never compared."""

    PAGE_CACHE = "page cache"
    DISK = "fsync"
    NONE = "not told by a mock"


class Order(StrEnum):
    """What a topology promises about the order in which the workers of a group get messages."""

    NONE = "plain"
    KEYED = "keyed"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Topology:
    """A stream of messages that each group gets whole, shared by the workers of the group. `name` is used once."""

    name: str
    worker_count: int = 1
    order: Order = Order.NONE
    prefetch: int = IN_FLIGHT
    """What a worker gets ahead of its acknowledgements, where a broker deals messages out one by one."""

    @property
    def log_count(self) -> int:
        """Of how many logs a broker that shares by log makes it, the same for all of them."""
        return 1 if self.order is Order.TOTAL else self.worker_count


class Publisher(Protocol):
    """Connects again by itself: after BrokerLost one tries again."""

    async def publish(self, key: bytes, value: bytes) -> None:
        """Return when the broker has confirmed. Many calls may be under way. Raises BrokerLost."""


class Consumer(Protocol):
    """One worker of a group. Connects again by itself."""

    async def receive(self) -> Sequence[bytes]:
        """At least one message and at most BATCH_SIZE, waiting for the first, through outages. Raises BrokerLost."""

    async def acknowledge(self) -> None:
        """All that `receive` returned so far is done. Raises BrokerLost: it will be delivered again."""


class Client(Protocol):
    """An application's view of a broker."""

    async def create(self, topology: Topology) -> None:
        """Make the stream; nobody reads it yet. Raises NotOffered for an order that the broker does not have."""

    async def create_group(self, topology: Topology, group: str) -> None:
        """From now on the group gets what is published, whether or not its workers run."""

    async def fill(self, topology: Topology, group: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish with what the client has for mass, in no order; return when the broker holds all for the group."""

    def publisher(self, topology: Topology) -> AbstractAsyncContextManager[Publisher]:
        """Connect to publish."""

    def consumer(
        self, topology: Topology, group: str, worker: int, *, replay: bool = False
    ) -> AbstractAsyncContextManager[Consumer]:
        """Connect as a worker, from 0, of a group. A group that never read begins with the oldest that it may see.

        With `replay` the group goes back to the beginning. Raises NotOffered where that does not exist.
        """


class Broker(Protocol):
    """A program on this machine, which keeps its data in a folder of its own."""

    @property
    def address(self) -> str:
        """What a Client is made from."""

    @property
    def pid(self) -> int: ...

    @property
    def pids(self) -> Sequence[int]:
        """Of all that runs for it; children of these aside."""

    def start(self) -> None:
        """Return when it answers; on the data that is there. Raises BenchmarkFailed."""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""

    def stop(self) -> None:
        """SIGTERM, or SIGKILL when that takes too long. Does nothing when it does not run."""

    def disk_bytes(self) -> int:
        """What its data take on disk now."""

    def installed_bytes(self) -> int:
        """What its program and the runtime below that take on disk."""


class BrokerFactory(Protocol):
    """A broker whose data lie in `folder`, on free ports; not started."""

    def __call__(self, folder: Path) -> Broker: ...


class ClientFactory(Protocol):
    """The client for an address."""

    def __call__(self, address: str) -> Client: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A broker in one of its modes, as the tables name it."""

    name: str
    system: str
    """The same for modes that differ in nothing but durability."""
    durability: Durability
    settings: str
    """What was chosen, for whoever repeats it elsewhere."""
    make_broker: BrokerFactory
    make_client: ClientFactory
    find_version: VersionFinder
    how_to_get: str
    """The next step where it cannot be started."""
    notes: Mapping[str, str]
    """What one must know of it to read its figures, by the key of a question."""
    is_mock: bool = False


class VersionFinder(Protocol):
    """The version that would be started here, with that of its runtime; None when there is none."""

    def __call__(self) -> str | None: ...
