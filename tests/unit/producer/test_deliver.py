"""Partitions, progress and the checkpoint: what a restart may rely on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from services.producer.chunk import Chunk, FileIdentity, KnownFile
from services.producer.deliver import progress as progress_module
from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.checkpoint_writer import CheckpointWriter
from services.producer.deliver.outbox import Outbox
from services.producer.deliver.partition import PartitionBy, Partitioner
from services.producer.deliver.progress import Progress
from shared.errors import FatalError
from shared.kafka.partitioner import partition_of_key
from tests.unit.producer.lines import COMBINED, FILE, parse


def file_named(generation: str) -> FileIdentity:
    return FileIdentity(f"/logs/{generation}", 1, 2, generation, 9, "hash")


def chunk(generation: str, start: int, end: int) -> Chunk:
    return Chunk(file_named(generation), start, end, b"")


def test_a_client_goes_where_its_key_sends_it() -> None:
    """The key is the address; other producers' murmur2 agrees."""
    parsed = parse(COMBINED, COMBINED.replace(b"192.0.2.7", b"198.51.100.1"))
    partitions, keys = Partitioner(PartitionBy.CLIENT, 8).assign(parsed)
    assert list(keys) == [b"192.0.2.7", b"198.51.100.1"]
    assert list(partitions) == [partition_of_key(key, 8) for key in keys if key]


def test_a_file_stays_together() -> None:
    """One key for all lines of a file, rotated or not: the path where it was first followed."""
    partitions, keys = Partitioner(PartitionBy.FILE, 8).assign(parse(COMBINED, COMBINED))
    assert set(keys) == {FILE.path.encode()}
    assert len(set(partitions)) == 1


def test_spreading_depends_on_the_record_alone() -> None:
    """Wherever a chunk begins, the line at an offset goes to the same partition."""
    together = parse(*[COMBINED] * 200)
    whole, _ = Partitioner(PartitionBy.SPREAD, 8).assign(together)
    assert len(set(whole)) == 1 + len(COMBINED) * 200 // 4096
    again, keys = Partitioner(PartitionBy.SPREAD, 8).assign(parse(*[COMBINED] * 100))
    assert list(whole[:100]) == list(again)
    assert set(keys) == {None}


def test_progress_is_the_contiguous_confirmed_prefix() -> None:
    """A later success does not skip an earlier chunk."""
    progress = Progress([KnownFile(file_named("old"), 70)])
    first, second = chunk("new", 0, 10), chunk("new", 10, 30)
    progress.begin(first)
    progress.begin(second)
    progress.confirm(second)
    assert {file.identity.generation: file.position for file in progress.snapshot()} == {"old": 70, "new": 0}
    changes = progress.changes
    progress.confirm(first)
    assert {file.identity.generation: file.position for file in progress.snapshot()} == {"old": 70, "new": 30}
    assert progress.changes > changes


def test_progress_forgets_the_files_that_were_read_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, however many files come and go."""
    monkeypatch.setattr(progress_module, "MAX_REMEMBERED_FILES", 3)
    progress = Progress([])
    for number in range(5):
        progress.begin(chunk(f"g{number}", 0, 10))
        progress.confirm(chunk(f"g{number}", 0, 10))
    assert [file.identity.generation for file in progress.snapshot()] == ["g2", "g3", "g4"]


_TEXT = st.text(st.characters(codec="utf-8"))
_IDENTITIES = st.builds(FileIdentity, _TEXT, st.integers(0), st.integers(0), _TEXT, st.integers(0), _TEXT)


@given(st.lists(st.builds(KnownFile, _IDENTITIES, st.integers(0)), max_size=5))
def test_a_checkpoint_comes_back_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, files: list[KnownFile]
) -> None:
    """Any name, any number."""
    store = CheckpointStore(tmp_path_factory.mktemp("checkpoint") / "state" / "checkpoint.json")
    saved = Checkpoint(tuple(files), {"*.log": 7, "b": None}, 12, {"nginx_logs": (0, 2**40)})
    assert store.load() is None
    store.save(saved)
    assert store.load() == saved


def test_a_checkpoint_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    """It knows of no tails and no sequence."""
    path = tmp_path / "checkpoint.json"
    path.write_text('{"version": 1, "patterns": {"*.log": 7}, "files": []}')
    assert CheckpointStore(path).load() == Checkpoint((), {"*.log": 7})


def test_a_checkpoint_has_one_producer(tmp_path: Path) -> None:
    """The second one is told who has it; a folder that lets nobody write is told and survived."""
    path = tmp_path / "state" / "checkpoint.json"
    first, second = CheckpointStore(path), CheckpointStore(path)
    name = first.lock()
    with pytest.raises(FatalError, match=rf"in use by another producer \(process {os.getpid()} on "):
        second.lock()
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match="a file"):
        CheckpointStore(tmp_path / "a file" / "checkpoint.json").lock()
    shutil.copytree(path.parent, tmp_path / "copy")
    assert CheckpointStore(tmp_path / "copy" / "checkpoint.json").lock() != name


def test_a_checkpoint_cut_at_any_byte_is_refused_or_whole(tmp_path: Path) -> None:
    """Never half believed."""
    path = tmp_path / "checkpoint.json"
    store = CheckpointStore(path)
    files = [KnownFile(file_named("a"), 12345), KnownFile(file_named("b"), 9)]
    store.save(Checkpoint(tuple(files)))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FatalError, match="damaged"):
            store.load()


@given(st.integers(0, 2**16), st.integers(1, 255))
def test_a_checkpoint_with_a_changed_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    """A name or a number that is still one would be believed."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.json"
    store = CheckpointStore(path)
    store.save(Checkpoint((KnownFile(file_named("a"), 12345),), {"*.log": 7}, 3, {"nginx_logs": (5, 6)}))
    whole = bytearray(path.read_bytes())
    place %= len(whole)
    whole[place] ^= change
    path.write_bytes(whole)
    try:
        loaded = store.load()
    except FatalError:
        return
    # White space between two values may change, and nothing else.
    assert loaded == Checkpoint((KnownFile(file_named("a"), 12345),), {"*.log": 7}, 3, {"nginx_logs": (5, 6)})


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk shows before the old one is gone; a temporary that a crash left is no matter."""
    path = tmp_path / "checkpoint.json"
    store = CheckpointStore(path)
    store.save(Checkpoint((KnownFile(file_named("a"), 1),)))
    (tmp_path / "checkpoint.json.new").write_bytes(b"left over from a crash")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.save(Checkpoint((KnownFile(file_named("a"), 2),)))
    assert store.load() == Checkpoint((KnownFile(file_named("a"), 1),))
    store.save(Checkpoint((KnownFile(file_named("a"), 3),)))
    assert store.load() == Checkpoint((KnownFile(file_named("a"), 3),))


async def test_a_checkpoint_that_finds_no_room_is_told_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system names no file when the disk is full."""
    store = CheckpointStore(tmp_path / "checkpoint.json")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outbox = cast(Outbox, SimpleNamespace(tails={}))
    saved: list[bool] = []
    with structlog.testing.capture_logs() as told:
        writer = CheckpointWriter(store, Checkpoint(), Progress([]), outbox, saved.append)
        await writer.save()
        writer.close()
    assert saved == [False]
    [failed] = told
    assert failed["event"] == "checkpoint_failed"
    assert (failed["error"], failed["path"]) == ("No space left on device", str(tmp_path / "checkpoint.json"))
