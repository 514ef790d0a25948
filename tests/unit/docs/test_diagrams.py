"""The pictures of the pages, as far as they can be looked at without drawing them."""

from __future__ import annotations

import re

from tests.unit.docs.generated import DOCS
from tests.unit.docs.pages import fences

# Words of Mermaid's own: one of them as the name of a part makes the page show an error in place of the picture.
RESERVED = {"default", "style", "class", "click", "end", "graph", "subgraph"}


def test_no_part_of_a_picture_is_named_like_a_word_of_the_language() -> None:
    pictures = {page: fences(page, "mermaid") for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")]}
    named = {
        (page.name, name)
        for page, blocks in pictures.items()
        for block in blocks
        for name in re.findall(r"^\s*subgraph\s+(\w+)", block, re.MULTILINE)
    }
    assert named
    assert {(page, name) for page, name in named if name.lower() in RESERVED} == set()
