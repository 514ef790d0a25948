"""What the pages tell a reader to type can be typed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from compose.control import verbs
from compose.control.choices import OTHER_VARIABLES
from compose.control.topology import interpolate, variable_names
from services.consumer.settings import ConsumerSettings
from services.producer.settings import ProducerSettings
from services.topics.settings import TopicsSettings
from tests.unit.docs.generated import PAGES, ROOT
from tests.unit.docs.pages import names, rows, shell

COMPOSE_FILES = [ROOT / "compose.yaml", *sorted((ROOT / "compose").glob("**/*.yaml"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def targets() -> frozenset[str]:
    """The targets of the Makefile."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    return frozenset(phony[1].split())


@cache
def settings() -> frozenset[str]:
    """The variables of the services."""
    kinds = (ConsumerSettings, ProducerSettings, TopicsSettings)
    return frozenset(name.upper() for kind in kinds for name in kind.model_fields)


def without_comments(file: Path) -> str:
    """A comment may speak of variables in general."""
    return re.sub(r"^\s*#.*$", "", file.read_text(), flags=re.MULTILINE)


@cache
def compose_variables() -> frozenset[str]:
    """The variables that the Compose files leave open."""
    return frozenset().union(*(variable_names(without_comments(file)) for file in COMPOSE_FILES))


@cache
def make_variables() -> frozenset[str]:
    """The variables that the make verbs themselves look at."""
    control = ROOT / "compose" / "control"
    files = [control / "__main__.py", control / "develop.py", *(ROOT / "compose" / "local").glob("*.py")]
    source = "".join(file.read_text() for file in files)
    asked = re.findall(r'(?:environ\.get|_count|_seconds)\("([A-Z_]+)"', source)
    by_script = re.findall(r"\$\{([A-Z]+):-", (ROOT / "compose" / "control" / "bootstrap.sh").read_text())
    return frozenset(asked) | frozenset(by_script) | OTHER_VARIABLES


@cache
def bench_variables() -> frozenset[str]:
    """The variables of `make bench`."""
    source = (ROOT / "bench" / "__main__.py").read_text()
    return frozenset(re.findall(r'_flag\("([A-Z_]+)"', source))


@cache
def chaos_variables() -> frozenset[str]:
    """The variables of `make chaos`."""
    source = (ROOT / "tests" / "chaos" / "__main__.py").read_text()
    return frozenset(re.findall(r'environ(?:ment)?\.get\("([A-Z_]+)"', source))


@every_page
def test_every_make_target_exists(page: Path) -> None:
    """`make X` on a page is a target of the Makefile."""
    assert set(re.findall(r"\bmake ([a-z][\w-]*)", shell(page))) <= targets()


@every_page
def test_every_variable_exists(page: Path) -> None:
    """NAME=value on a page, and every NAME_IN_CAPITALS, is something that somebody reads."""
    text = shell(page)
    named = set(re.findall(r"(?<![\w$/-])([A-Z][A-Z_]{2,})=", text))
    named |= set(re.findall(r"^([A-Z]+(?:_[A-Z]+)+)$", text, re.MULTILINE))
    assert named <= settings() | compose_variables() | make_variables() | bench_variables() | chaos_variables()


@every_page
def test_every_module_that_is_run_exists(page: Path) -> None:
    """`python -m X` on a page."""
    for module in re.findall(r"python -m ((?:services|shared|compose|tests)[\w.]*)", shell(page)):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_verb_is_explained() -> None:
    """docs/operations.md has a row for every verb that changes or shows the stack."""
    explained = {name.split()[1] for verb, *_others in rows("operations.md", "command") for name in names(verb)}
    assert explained == set(verbs.STACK_VERBS)


def test_every_variable_of_the_stack_is_explained_with_its_default() -> None:
    """docs/settings.md has a row for what the Compose files and the make verbs read.

    Not for a setting that is passed on as it is: the table of its service has it.
    """
    text = "".join(map(without_comments, COMPOSE_FILES))
    passed_on = {name for name in settings() if f"{name}: ${{{name}:-}}" in text}
    explained = {names(variable)[0]: default for variable, default, _meaning in rows("settings.md", "of the stack")}
    assert explained.keys() == (compose_variables() | make_variables()) - passed_on
    for variable, default in explained.items():
        given = set(re.findall(r"\$\{" + variable + r":-[^}]*\}", text))
        shown = names(default)[0] if names(default) else ""
        assert {interpolate(each, {}) for each in given} <= {shown}, f"the default of {variable}"
