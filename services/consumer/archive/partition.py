"""The files of one partition of an archive: what is in them, writing more, merging small ones.

One rule decides: **a record is archived if and only if the folder of its hour has a file of its partition whose span
holds its offset.** What follows keeps it true at every instant, whatever process dies or sleeps for however long:

1. A file holds every record of its hour that the topic has in its span. `publish` writes one file per hour, of all rows
   of that hour that are held, and names it by all offsets that were read, less those that another file of the hour
   holds already. It appears complete or not at all.
2. Two files of an hour have no offset in common, but for a merged one and those it was made of. Looking and writing
   happen under the lock of the partition; what was seen under it earlier counts only while the note in the lock file
   says that nobody else has held it since. So of two owners, one of which does not know yet that it is none any more,
   the second one sees the files of the first.
3. `publish` returns when every record that was held is archived. A crash between the files of two hours leaves one
   hour archived and the other not; whoever reads these offsets again, in whatever batches, passes over the one and
   writes the other. Nothing of it was committed.
4. A merged file holds the rows of all it was made of, and its span no offset but theirs and such as its maker has read
   past and knows to hold nothing of that hour: rule 1 holds for it. The note names the hour before it appears; then it
   appears, then the others go. Whoever takes the lock next, after a crash between these, reads the note and first
   removes what lies within another file's span: by rule 1 it is there twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.consumer.archive.columns import SCHEMA, described, identity_at, rows_within, unknown_columns
from services.consumer.archive.layout import (
    Span,
    file_name,
    folder_name,
    joined,
    missing_from,
    redundant,
    run_to_merge,
    span_named,
)
from services.consumer.archive.lock import LockFile, Note, locked
from services.consumer.decode import DecodedBatch
from shared.durable import appearing, make_folder, sync_folder
from shared.errors import FatalError, SinkUnavailable

# Below the time for a reassignment, in which a flush has to fit.
LOCK_TIMEOUT_S = 3.0
# Hours whose files are remembered; others are looked at anew.
REMEMBERED_HOURS = 48
# What a batch of rows costs besides its rows, and how many there may be before they are made one.
BATCH_OVERHEAD_BYTES = 16_384
MAX_HELD_BATCHES = 64
# Work of one merge, and with it the size of what files become.
MERGE_MAX_BYTES = 16 * 1024 * 1024
MERGE_MAX_FILES = 256
# Of a merged file; what a merge holds in memory is about twice that.
ROW_GROUP_BYTES = 8 * 1024 * 1024


class PartitionArchive:
    """The share of one partition, for as long as it is assigned. Not for use by two threads at once."""

    def __init__(self, root: Path, topic: str, partition: int) -> None:
        self.path = root / topic
        self.held_bytes = 0
        # Hours that may have small files, and when they are to be merged, in seconds since 1970.
        self.merge_at: dict[int, float] = {}
        self._root = root
        self._topic = topic
        self._partition = partition
        self._holder = secrets.token_hex(16)
        self._covered: dict[int, list[Span]] = {}
        self._rows: dict[int, list[Any]] = {}
        # Offsets from `_begin` up to but not including `_end` were read since the last file; from `_seen_from` on since
        # the assignment.
        self._seen_from: int | None = None
        self._begin = self._end = 0
        self._compared: set[int] = set()

    def settle(self) -> None:
        """Finish now what a predecessor left half done, unless somebody is at it. Raises OSError."""
        if self._lock_path.exists():
            with suppress(SinkUnavailable), self._alone(timeout_s=0):
                pass

    def goes_back(self, batch: DecodedBatch) -> bool:
        """Whether these offsets were read before: they are those of another topic, or of a lost tail."""
        return self._seen_from is not None and batch.first_offset < self._end

    def hold(self, batch: DecodedBatch, rows: dict[int, Any]) -> None:
        """Keep the rows until `publish`. When offsets go back, that must have been called before."""
        if self._seen_from is None or batch.first_offset < self._end:
            assert not self._rows, "published before offsets go back"
            self._seen_from = self._begin = batch.first_offset
            self._compared.clear()
        self._end = batch.next_offset
        for hour, some in rows.items():
            held = self._rows.setdefault(hour, [])
            held.append(some)
            self.held_bytes += _cost_bytes([some])
            if len(held) >= MAX_HELD_BATCHES:
                self._rows[hour] = pa.Table.from_batches(held).combine_chunks().to_batches()
                self.held_bytes += _cost_bytes(self._rows[hour]) - _cost_bytes(held)

    def publish(self) -> list[int]:
        """Archive what is held; the hours that are touched. Raises OSError, SinkUnavailable or FatalError, and keeps it
        then.
        """
        if not self._rows:
            return []
        span = Span(self._begin, self._end - 1)
        with self._alone():
            for hour in sorted(self._rows):
                self._publish_hour(hour, span, pa.Table.from_batches(self._rows[hour]))
        touched = list(self._rows)
        self._rows, self.held_bytes = {}, 0
        self._begin = self._end
        return touched

    def _publish_hour(self, hour: int, span: Span, rows: Any) -> None:
        covered = self._covered_of(hour)
        missing = missing_from(span, covered)
        if missing != [span]:
            self._compare(hour, rows, missing)
        for part in missing:
            wanted = rows if part == span else rows_within(rows, part)
            if wanted.num_rows:
                self._write(hour, part, [wanted])
                self._covered[hour] = joined([*self._covered[hour], part])

    def _compare(self, hour: int, rows: Any, missing: list[Span]) -> None:
        """Hold the first and the last that are passed over against the files, once for each hour of an assignment."""
        if hour in self._compared:
            return
        offsets = rows.column("kafka_offset").to_pylist()
        skipped = [index for index, offset in enumerate(offsets) if not _within(offset, missing)]
        for index in sorted({skipped[0], skipped[-1]}) if skipped else ():
            self._compare_one(hour, offsets[index], rows.slice(index, 1).to_pylist()[0])
        self._compared.add(hour)

    def _compare_one(self, hour: int, offset: int, row: dict[str, Any]) -> None:
        for span in self._look(hour):
            if not span.first <= offset <= span.last:
                continue
            path = self.folder(hour) / file_name(self._partition, span)
            try:
                archived = identity_at(path, offset)
            except pa.ArrowException as error:
                raise FatalError(
                    f"{path} cannot be read: {error}. Move it away; what Kafka brings again of it is archived anew."
                ) from error
            if archived is None or any(row[name] != value for name, value in archived.items()):
                raise FatalError(
                    f"{path} holds another record at offset {offset} than the topic: the topic was made anew. "
                    f"Move {self.path} away; its files belong to a topic that is gone."
                )

    def merge(self, hour: int) -> bool:
        """Make some of the hour's files one; False when there is nothing to gain, or something to lose.

        Raises OSError, SinkUnavailable, or what Arrow raises of a damaged file.
        """
        seen = None if self._seen_from is None else Span(self._seen_from, self._begin - 1)
        with self._alone() as lock:
            sizes = [(span, self._path(hour, span).stat().st_size) for span in self._look(hour)]
            run = run_to_merge(sizes, seen, MERGE_MAX_BYTES, MERGE_MAX_FILES)
            paths = [self._path(hour, span) for span in run]
            if not run or any(unknown_columns(path) for path in paths):
                return False
            whole = Span(run[0].first, run[-1].last)
            lock.write(Note(self._holder, hour))
            self._write(hour, whole, _row_groups(paths))
            self._remove(hour, run)
            lock.write(Note(self._holder))
            self._covered.pop(hour, None)
        return True

    @contextmanager
    def _alone(self, timeout_s: float | None = None) -> Iterator[LockFile]:
        """Under the lock. What is remembered counts when nobody has held it since, and when nothing went wrong."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self._lock_path, LOCK_TIMEOUT_S if timeout_s is None else timeout_s) as lock:
            note = lock.read()
            if note != Note(self._holder):
                self._take_over(lock, note)
            try:
                yield lock
            except BaseException:
                self._holder = secrets.token_hex(16)
                raise

    def _take_over(self, lock: LockFile, note: Note) -> None:
        """Forget what was seen; finish what the last holder left half done."""
        self._covered.clear()
        make_folder(self.path, self._root)
        self._temporary.unlink(missing_ok=True)
        if note.merging is not None:
            self._look(note.merging)
        lock.write(Note(self._holder))

    def _covered_of(self, hour: int) -> list[Span]:
        if hour not in self._covered:
            while len(self._covered) >= REMEMBERED_HOURS:
                del self._covered[next(iter(self._covered))]
            make_folder(self.folder(hour), self.path)
            self._covered[hour] = joined(self._look(hour))
        return self._covered[hour]

    def _look(self, hour: int) -> list[Span]:
        """The spans of the hour's files, without those that a merge has left; these are removed."""
        folder = self.folder(hour)
        if not folder.is_dir():
            return []
        names = [path.name for path in folder.iterdir()]
        spans = [span for name in names if (span := span_named(name, self._partition))]
        left = redundant(spans)
        self._remove(hour, left)
        return sorted(set(spans) - set(left))

    def _write(self, hour: int, span: Span, tables: Any) -> None:
        with (
            appearing(self._temporary, self._path(hour, span)) as file,
            pq.ParquetWriter(file, described(self._topic, self._partition, span), compression="zstd") as writer,
        ):
            for table in tables:
                writer.write_table(table.replace_schema_metadata(writer.schema.metadata))

    def _remove(self, hour: int, spans: list[Span]) -> None:
        for span in spans:
            self._path(hour, span).unlink(missing_ok=True)
        if spans:
            sync_folder(self.folder(hour))

    @property
    def _lock_path(self) -> Path:
        return self.path / f".p{self._partition}.lock"

    @property
    def _temporary(self) -> Path:
        """One is enough: who writes holds the lock. On the way of no reader, who looks for `.parquet` below hours."""
        return self.path / f".p{self._partition}.tmp"

    def folder(self, hour: int) -> Path:
        """Where the files of an hour are."""
        return self.path / folder_name(hour)

    def _path(self, hour: int, span: Span) -> Path:
        return self.folder(hour) / file_name(self._partition, span)


def _cost_bytes(batches: list[Any]) -> int:
    return sum(batch.get_total_buffer_size() + BATCH_OVERHEAD_BYTES for batch in batches)


def _within(offset: int, spans: list[Span]) -> bool:
    return any(span.first <= offset <= span.last for span in spans)


def _row_groups(paths: list[Path]) -> Iterator[Any]:
    """The rows of the files in order, in pieces of bounded size, with the columns of today."""
    held: list[Any] = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                held.append(_with_columns_of_today(file.read_row_group(number)))
                if sum(table.nbytes for table in held) >= ROW_GROUP_BYTES:
                    yield pa.concat_tables(held).combine_chunks()
                    held = []
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _with_columns_of_today(table: Any) -> Any:
    columns = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
