"""Reading the pages: their tables, their code, what they name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.docs.generated import DOCS

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def rows(page: str, first_head: str) -> list[list[str]]:
    """The rows of every table of docs/PAGE whose first column has this head, cell by cell."""
    found: list[list[str]] = []
    inside = False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == first_head:
            inside = True
        elif inside and set(cells[0]) - set("-: "):
            found.append(cells)
    return found


def names(cell: str) -> list[str]:
    """What stands in backquotes."""
    return _SPAN.findall(cell)


def fences(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    return [body for language, body in _FENCE.findall(page.read_text()) if language in languages]


def spans(page: Path) -> list[str]:
    """The pieces of code inside the sentences of a page."""
    return _SPAN.findall(_FENCE.sub("", page.read_text()))


def shell(page: Path) -> str:
    """Everything on a page that a reader may type."""
    return "\n".join([*fences(page, "sh", "console"), *spans(page)])
