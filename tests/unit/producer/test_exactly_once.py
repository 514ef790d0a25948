"""What decides that a line is delivered already: the tails, the state topic, the floors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.producer.chunk import Chunk, FileIdentity, KnownFile
from services.producer.deliver import progress as progress_module
from services.producer.deliver.checkpoint import Checkpoint
from services.producer.deliver.delivered import Delivered
from services.producer.deliver.progress import Progress
from services.producer.deliver.state import Owner, StateRecords, tail_range
from shared.errors import FatalError
from shared.schemas import AccessRecord, DeadLetter, DeadLetterReason
from shared.schemas.dead_letter import SOURCE_GENERATION_HEADER, SOURCE_OFFSET_HEADER
from shared.schemas.headers import REPLAY_HEADER
from tests.unit.producer.lines import COMBINED, FILE, parse

OWNER = Owner(instance="i", host="web-1", process=7, started_at="2026-01-01T00:00:00+00:00", lock="l")


def known(generation: str, position: int) -> KnownFile:
    return KnownFile(replace(FILE, generation=generation), position)


def file_of(generation: str) -> FileIdentity:
    return known(generation, 0).identity


def test_lines_that_the_tail_holds_are_taken_out_and_the_others_stay() -> None:
    """Records and rejects, whatever order the topic has them in."""
    parsed = parse(COMBINED, COMBINED, COMBINED, b"no line", COMBINED, b"no line either")
    delivered = Delivered("web-1")
    for index in (3, 0):
        delivered.note_record(parsed.values[index], ())
    delivered.note_dead_letter(letter(parsed.chunk.file.generation, parsed.rejects[1].offset).headers())
    assert delivered.line_count == 3
    assert delivered.pending
    rest = delivered.remove_from(parsed)
    assert rest.values == parsed.values[1:3]
    assert rest.addresses == parsed.addresses[1:3]
    assert rest.offsets == parsed.offsets[1:3]
    assert rest.rejects == parsed.rejects[:1]
    assert rest.delivered_count == 3
    assert delivered.remove_from(rest) == rest


def letter(generation: str, offset: int, host: str = "web-1") -> DeadLetter:
    return DeadLetter(
        raw=b"no line",
        raw_length=7,
        reason=DeadLetterReason.UNPARSEABLE_LINE,
        message="",
        service="producer",
        source_host=host,
        source_file="/access.log",
        source_generation=generation,
        source_offset=offset,
    )


def test_other_hosts_other_files_and_replays_say_nothing() -> None:
    """Another host's file may have the same generation and offset; a replay says nothing of the first sending."""
    parsed = parse(COMBINED)
    (value,) = parsed.values
    delivered = Delivered("web-1")
    delivered.note_record(value.replace(b'"host":"web-1"', b'"host":"web-2"'), ())
    delivered.note_record(value, [(REPLAY_HEADER, b"run")])
    delivered.note_dead_letter(letter(FILE.generation, 0, "web-2").headers())
    delivered.note_dead_letter([*letter(FILE.generation, 0).headers(), (REPLAY_HEADER, b"run")])
    delivered.note_record(None, ())
    delivered.note_record(b"garbage", ())
    assert not delivered.pending
    assert delivered.remove_from(parsed) is parsed


@given(
    host=st.text(min_size=1),
    path=st.text(min_size=1),
    generation=st.from_regex(r"[0-9a-f]{1,8}-[0-9a-f]{16}(-\d{1,3})?", fullmatch=True),
)
def test_every_record_names_its_line_in_a_way_that_is_found(host: str, path: str, generation: str) -> None:
    """Whatever host and path are called: the expression reads what the model writes."""
    parsed = parse(COMBINED)
    record = AccessRecord.model_validate_json(parsed.values[0])
    source = record.source.model_copy(update={"host": host, "file": path, "generation": generation})
    delivered = Delivered(host)
    delivered.note_record(record.model_copy(update={"source": source}).to_json(), ())
    assert delivered.line_count == 1
    chunk = replace(parsed.chunk, file=file_of(generation))
    assert delivered.remove_from(replace(parsed, chunk=chunk)).values == []


def test_everything_below_the_floor_is_delivered() -> None:
    """A chunk below, across and above it; above it nothing is looked up any more."""
    size = len(COMBINED) + 1
    delivered = Delivered("web-1", [known(FILE.generation, 2 * size)])
    assert not delivered.pending
    assert delivered.remove_from(parse(COMBINED, COMBINED)).values == []
    across = parse(COMBINED, COMBINED, COMBINED)
    assert delivered.remove_from(across).values == across.values[2:]
    above = parse(COMBINED, start=2 * size)
    assert delivered.remove_from(above) is above


def test_the_tail_is_pending_until_its_last_line_is_passed() -> None:
    """As long as it is, the next start must look there again."""
    size = len(COMBINED) + 1
    first, second = parse(COMBINED), parse(COMBINED, COMBINED, start=size)
    delivered = Delivered("web-1")
    delivered.note_record(second.values[0], ())
    delivered.remove_from(first)
    assert delivered.pending
    assert delivered.remove_from(second).values == second.values[1:]
    assert not delivered.pending


def test_what_no_producer_writes_is_passed_over_and_counted() -> None:
    """One record of a stranger must not end every start."""
    (value,) = parse(COMBINED).values
    delivered = Delivered("web-1")
    delivered.note_record(value.replace(b'"generation":"2-feed"', b'"generation":"\xff"'), ())
    headers = dict(letter(FILE.generation, 0).headers())
    delivered.note_dead_letter([*headers.items(), (SOURCE_OFFSET_HEADER, b"no number")])
    del headers[SOURCE_GENERATION_HEADER]
    delivered.note_dead_letter(list(headers.items()))
    assert (delivered.strange_count, delivered.line_count) == (3, 0)


def test_files_that_this_producer_does_not_read_are_not_waited_for() -> None:
    """Those of another producer on the same host, and those that are gone: else the tail would be pending for ever."""
    (value,) = parse(COMBINED).values
    others = Delivered("web-1", (), lambda path: path != FILE.path)
    others.note_record(value, ())
    assert not others.pending
    own = Delivered("web-1")
    own.note_record(value, ())
    own.forget_others_than({FILE.generation})
    assert own.pending
    own.forget_others_than(set())
    assert not own.pending


def test_open_files_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others were read since: a restart would read a forgotten one from its beginning."""
    monkeypatch.setattr(progress_module, "MAX_REMEMBERED_FILES", 2)
    progress = Progress([])
    progress.hold({"quiet"})
    for generation in ("quiet", "b", "c", "d"):
        progress.begin(Chunk(file_of(generation), 0, 5, b"x" * 5))
    assert positions(progress).keys() == {"quiet", "d"}


def test_floors_are_remembered_though_this_run_is_behind_them() -> None:
    """Of files that it reads again, and of those that it does not know."""
    progress = Progress([known("a", 10)])
    progress.raise_floors([known("a", 50), known("b", 7)])
    assert positions(progress) == {"b": 7, "a": 50}
    chunk = Chunk(file_of("a"), 10, 60, b"x" * 50)
    progress.begin(chunk)
    assert positions(progress) == {"b": 7, "a": 50}
    progress.confirm(chunk)
    assert positions(progress) == {"b": 7, "a": 60}
    progress.begin(Chunk(file_of("b"), 0, 5, b"x" * 5))
    progress.confirm(Chunk(file_of("b"), 0, 5, b"x" * 5))
    assert positions(progress) == {"a": 60, "b": 7}


def positions(progress: Progress) -> dict[str, int]:
    return {file.identity.generation: file.position for file in progress.snapshot()}


_CHECKPOINTS = st.builds(
    Checkpoint,
    files=st.lists(
        st.builds(known, st.sampled_from("abcde"), st.integers(0, 9)),
        unique_by=lambda file: file.identity.generation,
    ).map(tuple),
    patterns=st.dictionaries(st.text(), st.none() | st.integers(0)),
    sequence=st.integers(0),
    tails=st.dictionaries(st.text(), st.lists(st.integers(0)).map(tuple)),
)


@given(st.lists(st.tuples(_CHECKPOINTS, st.booleans()), min_size=1))
def test_the_state_topic_says_what_was_saved_last(saves: list[tuple[Checkpoint, bool]]) -> None:
    """Read from the beginning, or compacted to the last record of each key."""
    writer = StateRecords("producer@web-1")
    log: list[tuple[bytes, bytes | None]] = [(b"producer@web-2/", b"another producer's")]
    for checkpoint, released in saves:
        log += writer.changes(checkpoint, OWNER, released=released)
    for records in (log, list(dict(log).items())):
        reader = StateRecords("producer@web-1")
        for offset, (key, value) in enumerate(records):
            reader.note(key, value, offset)
        kept = reader.kept()
        assert kept is not None
        expected, released = saves[-1]
        assert replace(kept.checkpoint, files=()) == replace(expected, files=())
        assert set(kept.checkpoint.files) == set(expected.files)
        assert (kept.owner, kept.released) == (OWNER, released)


def test_only_what_changed_is_written() -> None:
    """And the record of the producer itself, which is last."""
    records = StateRecords("p")
    first = Checkpoint((known("a", 1), known("b", 1)))
    assert [key for key, _value in records.changes(first, OWNER, released=False)] == [b"p/a", b"p/b", b"p/"]
    second = Checkpoint((known("b", 2),))
    changes = records.changes(second, OWNER, released=False)
    assert [(key, value is None) for key, value in changes] == [(b"p/b", False), (b"p/a", True), (b"p/", False)]


def test_a_state_that_cannot_be_understood_is_refused() -> None:
    """It may be of a newer version: to go on without it could send everything again."""
    with pytest.raises(FatalError, match="offset 4"):
        StateRecords("p").note(b"p/", b"{}", 4)
    with pytest.raises(FatalError, match="offset 5"):
        StateRecords("p").note(b"p/generation", b"garbage", 5)


@pytest.mark.parametrize(
    ("expected", "first", "end", "start", "whole"),
    [(None, 0, 9, 9, True), (3, 0, 9, 3, True), (9, 0, 9, 9, True), (3, 5, 9, 5, False), (12, 0, 9, 0, False)],
)
def test_the_tail_begins_where_the_checkpoint_says(
    expected: int | None, first: int, end: int, start: int, whole: bool
) -> None:
    """Unless retention has passed it, or the topic is another one."""
    found = tail_range(expected, first, end)
    assert (found.start, found.end, found.whole) == (start, end, whole)
