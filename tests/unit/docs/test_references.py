"""What the pages refer to is there: pages, headings, files, modules, tests, sinks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from compose.control.topology import read_services
from services.consumer.sinks import SINKS
from tests.unit.docs.generated import DOCS, PAGES, ROOT
from tests.unit.docs.pages import fences, names, rows, spans

FOLDERS = ("services", "shared", "compose", "tests", "docs", "bench")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The anchors that a site makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links: the file is there, and the heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@every_page
def test_every_path_exists(page: Path) -> None:
    """Files and folders of the repository, and modules by their dotted name."""
    for span in spans(page):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"(?:services|shared)(?:\.\w+)+", span):
            path = ROOT.joinpath(*span.split("."))
            assert path.is_dir() or path.with_suffix(".py").is_file(), span


@every_page
def test_every_test_exists(page: Path) -> None:
    """A promise rests on the test that is named beside it."""
    assert {span for span in spans(page) if re.fullmatch(r"test_\w+", span)} <= all_tests()


def all_tests() -> set[str]:
    """The names of all test functions."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_promise_names_a_test() -> None:
    """docs/delivery.md claims nothing that nobody tries."""
    promises = rows("delivery.md", "promise")
    assert promises
    for promise, tests in promises:
        assert names(tests), promise


def test_every_room_is_on_the_plan() -> None:
    """docs/architecture.md names every package of the services and of what they share."""
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("s*/**/__init__.py")}
    named = {span.rstrip("/") for span in spans(DOCS / "architecture.md")}
    assert {room for room in rooms if room.startswith(("services/", "shared/"))} <= named


def test_every_sink_is_explained() -> None:
    """And no other."""
    assert {names(sink)[0] for sink, *_others in rows("adding-a-consumer.md", "sink")} == set(SINKS)


def test_the_service_of_the_page_fits_into_the_stack() -> None:
    """The lines to copy into the Compose file make a group of their own name."""
    [lines] = fences(DOCS / "adding-a-consumer.md", "yaml")
    head, separator, tail = (ROOT / "compose" / "services.yaml").read_text().partition("\nvolumes:\n")
    added = read_services(head + "\n" + lines + separator + tail, {})
    [name] = added.keys() - read_services(head + separator + tail, {}).keys()
    assert added[name].group_id == name
    assert added[name].sink == "handler"


def test_every_page_can_be_found_from_the_readme() -> None:
    """A page that nobody links to is read by nobody."""
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in sorted(DOCS.glob("*.md")) if f"(docs/{page.name})" not in readme] == []
