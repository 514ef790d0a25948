"""docs/record.md: its examples are what the code does."""

from __future__ import annotations

import json

from services.producer.chunk import Chunk, FileIdentity
from services.producer.parse import ChunkParser, LogFormat
from services.producer.parse.escape import decode, restore, unescape
from shared.schemas import AccessRecord, DeadLetterReason
from tests.unit.docs.generated import DOCS, ROOT
from tests.unit.docs.pages import fences, names, rows


def test_the_examples_of_escaping_hold() -> None:
    """What nginx wrote, and what the field of the record is then."""
    examples = rows("record.md", "in the log")
    assert len(examples) >= 5
    for written, shown, in_escaped_fields in examples:
        sent = unescape(names(written)[0].encode())
        text, escaped = decode(sent)
        assert (text, escaped) == (names(shown)[0], in_escaped_fields == "yes")
        assert restore(text, escaped) == sent


def test_the_example_is_the_record_of_the_line() -> None:
    """The line of the page, parsed, is the record of the page."""
    [line] = fences(DOCS / "record.md", "log")
    [value] = fences(DOCS / "record.md", "json")
    expected = AccessRecord.model_validate_json(value)
    source = expected.source
    file = FileIdentity(source.file, 0, 0, source.generation, 0, "")
    chunk = Chunk(file, source.offset, source.offset + len(line), line.encode())
    [parsed] = ChunkParser(LogFormat.AUTO, source.host).parse(chunk).values
    assert AccessRecord.model_validate_json(parsed) == expected


def test_the_record_of_the_readme_is_one() -> None:
    """A reader may copy it."""
    [printed] = fences(ROOT / "README.md", "json")
    AccessRecord.model_validate_json(json.dumps(json.loads(printed)["record"]))


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    """And no other."""
    assert {names(reason)[0] for reason, *_others in rows("record.md", "dlt-reason")} == set(DeadLetterReason)
