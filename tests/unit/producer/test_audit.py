"""The audit's arithmetic: which ranges it names, whatever a topic lacks, doubles or alters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.producer.audit import digests
from services.producer.audit.beside import Beside
from services.producer.audit.digests import Book, FileDigest, add_parsed, compare, place_of_letter, place_of_value
from services.producer.audit.examine import Examination, Findings, different_fields
from services.producer.audit.verdict import FileVerdict, Verdict
from services.producer.chunk import Chunk, FileIdentity, KnownFile
from services.producer.deliver.checkpoint import Checkpoint
from services.producer.parse import ChunkParser, LogFormat, ParsedChunk
from services.producer.settings import ProducerSettings
from services.producer.tools.logs import Log, Logs, UnseenLog
from shared.errors import FatalError
from shared.runtime.settings import load_settings
from shared.schemas import DeadLetter
from shared.tools.marks import replay_headers
from shared.tools.progress import Progress
from shared.tools.ranges import Ranges
from tests.unit.producer.lines import COMBINED, FILE, chunk_of

HOST = "web-1"
PARSER = ChunkParser(LogFormat.AUTO, HOST)
LINES = [COMBINED.replace(b"512", b"%d" % number) for number in range(40)] + [b"junk", b""]
CHUNK = chunk_of(*LINES)
PARSED = PARSER.parse(CHUNK)
STARTS = [sum(len(line) + 1 for line in LINES[:number]) for number in range(len(LINES) + 1)]


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    """So that the lines of a test are in several blocks."""
    patch = pytest.MonkeyPatch()
    patch.setattr(digests, "BLOCK_BYTES", 1000)
    yield patch
    patch.undo()


def letter_of(parsed: ParsedChunk) -> DeadLetter:
    [reject] = parsed.rejects
    return DeadLetter(
        raw=reject.raw,
        raw_length=reject.length,
        reason=reject.reason,
        message=reject.message,
        service="producer",
        source_host=HOST,
        source_file=FILE.path,
        source_generation=FILE.generation,
        source_offset=reject.offset,
    )


def digest_of(values: list[bytes], letters: int = 1, limit: int = CHUNK.end) -> FileDigest:
    digest = FileDigest(limit)
    book = Book(HOST, {FILE.generation: digest})
    book.add_values(values, "records", 0)
    for _letter in range(letters):
        letter = letter_of(PARSED)
        book.add_letter(letter.raw, letter.headers(), "letters", 0)
    return digest


def expected() -> FileDigest:
    digest = FileDigest(CHUNK.end)
    add_parsed(Book(HOST, {FILE.generation: digest}), digest, PARSED)
    return digest


@dataclass
class Topic:
    """How often each record of the chunk is in the topic, and which of them say something else."""

    counts: list[int]
    altered: set[int]

    @property
    def values(self) -> list[bytes]:
        return [
            value.replace(b'"status":200', b'"status":404') if number in self.altered else value
            for number, value in enumerate(PARSED.values)
            for _copy in range(self.counts[number])
        ]


topics = st.builds(
    Topic,
    st.lists(st.sampled_from([0, 1, 1, 1, 1, 2]), min_size=40, max_size=40),
    st.sets(st.integers(0, 39), max_size=3),
)


@given(topics)
def test_a_block_is_suspicious_if_and_only_if_one_of_its_lines_is(topic: Topic) -> None:
    """Whatever is missing, doubled or altered; sums of one block never make up for another."""
    amiss = {
        STARTS[number] // 1000
        for number in range(40)
        if topic.counts[number] != 1 or (number in topic.altered and topic.counts[number])
    }
    found = compare(expected(), digest_of(topic.values))
    assert {suspicion.block for suspicion in found} == amiss


@given(topics)
def test_the_close_look_names_exactly_the_lines_that_are_amiss(topic: Topic) -> None:
    """As ranges of bytes, merged where lines adjoin."""
    findings = Findings()
    examination = Examination(PARSER, 0, CHUNK.end)
    examination.add(PARSED)
    for value in topic.values:
        place = place_of_value(value)
        assert place is not None
        examination.see(place, is_letter=False, findings=findings)
    letter = letter_of(PARSED)
    place = place_of_letter(letter.raw, letter.headers())
    assert place is not None
    examination.see(place, is_letter=True, findings=findings)
    examination.conclude(findings, lambda _offset, _parsed: False)

    def ranges(numbers: list[int]) -> list[tuple[int, int]]:
        merged = Ranges()
        for number in numbers:
            merged.add(STARTS[number], STARTS[number + 1])
        return list(merged)

    assert list(findings.missing) == ranges([number for number in range(40) if topic.counts[number] == 0])
    assert list(findings.doubled) == ranges([number for number in range(40) if topic.counts[number] == 2])
    assert list(findings.different) == ranges([n for n in sorted(topic.altered) if topic.counts[n]])


def test_a_missing_or_doubled_dead_letter_is_noticed() -> None:
    """Lines that are no records count as well."""
    for letters in (0, 2):
        [suspicion] = compare(expected(), digest_of(PARSED.values, letters))
        assert suspicion.block == STARTS[40] // 1000


def test_what_lies_behind_the_confirmed_position_is_only_counted() -> None:
    """It is in flight: there or not, both is right."""
    digest = digest_of(PARSED.values, limit=STARTS[3])
    assert (digest.records, digest.beyond) == (3, 38)


def test_records_are_sorted_by_where_they_come_from() -> None:
    """Other hosts, other files, and what this producer never wrote."""
    digest = FileDigest(CHUNK.end)
    book = Book(HOST, {FILE.generation: digest})
    [value] = ChunkParser(LogFormat.AUTO, "web-2").parse(chunk_of(COMBINED)).values
    other = PARSED.values[0].replace(b"2-feed", b"3-cafe")
    lookalike = b'{"source":{"host":,"","generation":"g","offset":1,"length":1}}'
    book.add_values([value, other, b"{}", b'{"path":"\\"source\\":{\\"host\\":"}', lookalike, *PARSED.values])
    book.add_replayed(PARSED.values[0], replay_headers("run", "now"))
    assert (book.of_other_hosts, book.of_other_files, book.foreign) == (2, 1, 2)
    assert (digest.records, digest.replayed) == (40, 1)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_no_name_of_a_file_or_host_hides_a_place(name: str) -> None:
    """The JSON of a record is searched, not parsed: a name may look like what is searched for."""
    for host, path in ((name, "/log"), ("host", name), ("host", '","generation":"x","offset":1,"length":1}' + name)):
        file = type(FILE)(path, 1, 2, "2-feed", 0, "")
        [value] = ChunkParser(LogFormat.AUTO, host).parse(Chunk(file, 7, 8 + len(COMBINED), COMBINED + b"\n")).values
        place = place_of_value(value)
        assert place is not None
        assert (place.host, place.generation, place.offset, place.length) == (host, "2-feed", 7, len(COMBINED))
        digest = FileDigest(1000)
        Book(host, {"2-feed": digest}).add_values([value])
        assert digest.records == 1


def test_fields_are_compared_by_what_both_records_have() -> None:
    """A field that a later version added is no difference."""
    assert different_fields(b'{"status":200,}', b'{"status":200,"source":{}}') is None
    assert different_fields(b'{"status":200}', b'{"status":200,"new":1}') is None
    assert different_fields(b'{"status":404,"path":"/a"}', b'{"status":200,"path":"/b"}') == "status, path"
    assert different_fields(b"junk", b'{"status":200}') == "the JSON of the record"


def verdict_of(findings: Findings, confirmed: int | None = 100, size: int = 120) -> Verdict:
    log = Log("/log", FILE, size, confirmed)
    return Verdict([FileVerdict(log, 5, 4, 1, 0, findings)], [], 0, 0, 0, 1.0)


def test_the_verdict_says_what_was_found() -> None:
    """In words; and only missing, doubled and different lines are differences."""
    clean = verdict_of(Findings())
    assert clean.clean
    said = "\n".join(clean.lines())
    assert "all there: 5 lines in 100 bytes" in said
    assert "in flight: bytes 100 to 120, not confirmed yet" in said
    findings = Findings()
    findings.gone.add(0, 10)
    assert verdict_of(findings).clean
    for number in range(30):
        findings.missing.add(10 * number, 10 * number + 5)
    differing = verdict_of(findings)
    assert not differing.clean
    assert "MISSING: 150 bytes in 30 ranges: 0-5, 10-15" in "\n".join(differing.lines())
    assert "and 10 more" in "\n".join(differing.lines())
    assert "not known to the producer's checkpoint" in "\n".join(verdict_of(Findings(), None).lines())
    assert "the file was cut: bytes 50 to 100" in "\n".join(verdict_of(Findings(), 100, 50).lines())


UNSEEN = UnseenLog("/gone.log", "9-beef", 4_000, "it is not where it was first followed: No such file or directory")


def test_an_audit_that_sees_none_of_what_was_confirmed_proves_nothing() -> None:
    """The files are named with the reason. Where nothing was ever confirmed, all is well."""
    blind = Verdict([], [UNSEEN], 0, 0, 0, 1.0)
    assert blind.proves_nothing
    assert not blind.clean
    assert blind.as_json()["unseen"][0]["path"] == "/gone.log"
    said = "\n".join(blind.lines())
    assert "Not compared: /gone.log  (generation 9-beef), 4,000 confirmed bytes" in said
    assert "No such file or directory" in said
    assert "NOTHING was compared" in said
    assert verdict_of(Findings(), 100, 0).proves_nothing, "a file that was cut to nothing"
    for idle in (Verdict([], [], 0, 0, 0, 1.0), verdict_of(Findings(), None)):
        assert idle.clean
    assert "no followed file has confirmed lines" in "\n".join(Verdict([], [], 0, 0, 0, 1.0).lines())


def test_a_file_that_is_gone_is_named_beside_those_that_were_compared() -> None:
    """Deleted after its rotation: no difference, and no silence. Of very many the first are named."""
    [verdict] = verdict_of(Findings()).files
    mixed = Verdict([verdict], [UNSEEN] * 30, 0, 0, 0, 1.0)
    assert mixed.clean
    said = "\n".join(mixed.lines())
    assert said.count("/gone.log") == 20
    assert "Not compared: 10 more files with confirmed bytes" in said
    assert "Every confirmed line of 1 files" in said


def test_what_cannot_be_seen_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone, or its path taken by another file; what nobody confirmed anything of is not told."""
    there, gone, fresh = tmp_path / "a.log", tmp_path / "b.log", tmp_path / "c.log"
    there.write_bytes(COMBINED + b"\n")
    monkeypatch.setenv("LOG_FILES", str(tmp_path / "*.log"))
    known = [
        KnownFile(FileIdentity(str(path), 1, 2, f"2-{number}", 10, "x"), position)
        for number, (path, position) in enumerate(((there, 700), (gone, 800), (fresh, 0)))
    ]
    with closing(Logs(load_settings(ProducerSettings), Checkpoint(tuple(known)))) as logs:
        assert [log.confirmed for log in logs.found] == [None]
        another, missing = logs.unseen()
    assert (another.path, another.confirmed) == (str(there), 700)
    assert "another file has its path now" in another.because
    assert (missing.path, missing.confirmed) == (str(gone), 800)
    assert "No such file" in missing.because


async def test_a_function_runs_in_a_process_beside_and_its_end_is_noticed() -> None:
    """What it returns, what the system refused it, and that it died."""

    def refuse(_add: Callable[[int], None]) -> int:
        raise PermissionError(13, "Permission denied")

    def count(add: Callable[[int], None]) -> int:
        add(3)
        return os.getpid()

    for work, told in ((refuse, "Permission denied"), (lambda _add: os._exit(9), "ended early")):
        with closing(Beside(work)) as beside, pytest.raises(FatalError, match=told):
            await beside.result(Progress("files", 3, "bytes", time.monotonic))
    with closing(Beside(count)) as beside:
        assert await beside.result(Progress("files", 3, "bytes", time.monotonic)) != os.getpid()
