"""Keeps every record in a table, with the offsets in the same transaction.

`write` holds rows in memory, `flush` is one transaction over all partitions: the stored offset of each is moved from
where this member believes it to be to where its rows end, and the rows are copied in. When an offset is not there any
more another member has gone on: the transaction stores nothing, whoever this member is and however long it slept.
`resume` reads the stored offsets, and they go before what the group has committed.

A connection that is cut in a COMMIT leaves the outcome unknown. The stored offsets tell it: the new ones, it was
committed; the old ones, it was not. Nothing else is taken before that is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.consumer.decode import DecodedBatch
from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.postgres.database import Database
from services.consumer.sinks.postgres.holdings import Holdings, Outcome
from services.consumer.sinks.postgres.rows import rows_of
from shared.errors import FatalError, OwnershipLost


class PostgresSink:
    """Holds rows until `flush`, or until there are `buffer_records` of them."""

    def __init__(self, database: Database, buffer_records: int) -> None:
        self._database = database
        self._buffer_records = buffer_records
        self._holdings = Holdings()
        self._topic = ""
        self._outcome_is_unknown = False

    @classmethod
    def from_settings(cls, settings: ConsumerSettings) -> PostgresSink:
        return cls(Database.from_settings(settings), settings.postgres_buffer_records)

    async def open(self) -> None:
        """A database that is away is waited for later, by `resume`."""
        await self._database.try_to_connect()

    async def resume(self, topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """The offsets that are stored with the rows."""
        stored = await self._database.stored_offsets(topic, partitions)
        self._topic = topic
        self._holdings.begin(stored, partitions)
        return stored

    async def write(self, batch: DecodedBatch) -> None:
        rows = rows_of(batch)
        expected = self._holdings.next_offset(batch.partition)
        if expected is not None and batch.first_offset < expected:
            raise FatalError(
                f"table {self._database.table} has partition {batch.partition} of topic {batch.topic} up to offset "
                f"{expected - 1}, and the topic goes on at {batch.first_offset}: it was made anew, or has lost records."
                " Set POSTGRES_TABLE to a new table for it; the rows in the old one belong to a topic that is gone."
            )
        # First make room: when that fails the batch is not taken, and may come again.
        if self._outcome_is_unknown or self._holdings.row_count + len(rows) > self._buffer_records:
            await self.flush()
        self._holdings.hold(batch.partition, rows, batch.next_offset)

    async def skip(self, batch: DecodedBatch) -> None:
        """Its end is stored as if it had rows."""
        await self.write(batch)

    async def flush(self) -> None:
        if self._outcome_is_unknown:
            await self._learn_outcome()
        moves = self._holdings.moves
        if not moves:
            return
        self._outcome_is_unknown = True  # also when this is cancelled: until the answer is here
        await self._database.store(self._topic, moves, self._holdings.rows())
        self._outcome_is_unknown = False
        self._holdings.finish(moves)

    async def _learn_outcome(self) -> None:
        """Of the last transaction. What has been forgotten since is another member's business."""
        moves = self._holdings.moves
        if moves:
            found = await self._database.stored_offsets(self._topic, [move.partition for move in moves])
            outcome = self._holdings.judge(moves, found)
            if outcome is Outcome.OVERTAKEN:
                raise OwnershipLost(f"another member has stored partitions of {self._topic} in {self._database.table}")
            if outcome is Outcome.STORED:
                self._holdings.finish(moves)
        self._outcome_is_unknown = False

    def forget(self, partitions: Collection[int]) -> None:
        self._holdings.forget(partitions)

    async def close(self) -> None:
        await self._database.close()
