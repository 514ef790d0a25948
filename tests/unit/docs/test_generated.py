"""What is made from the code is up to date; `python -m tests.unit.docs.generated` brings it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs.generated import PAGES, SCHEMA_FILE, TABLES, block_names, regenerated, schema_text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """A setting, a field, a header or an example that changed has to change here too."""
    assert page.read_text() == regenerated(page.read_text())


def test_every_table_is_on_a_page() -> None:
    """A table that no page shows documents nothing."""
    shown = [name for page in PAGES for name in block_names(page.read_text())]
    assert sorted(name for name in shown if not name.startswith("file ")) == sorted(TABLES)


def test_the_published_schema_is_what_is_written() -> None:
    """Byte for byte, so that a change of it is a change in the repository."""
    assert SCHEMA_FILE.read_text() == schema_text()
