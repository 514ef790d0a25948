"""A stack of the tests' own: the image built, everything brought up under its own project name and free ports."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.compose.stack import Stack, engine_problem

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an engine these tests are skipped and one line says so; where CI is set that is an error."""
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    for item in ours:
        item.add_marker(pytest.mark.compose)
        item.add_marker(pytest.mark.xdist_group("compose"))
    problem = engine_problem()
    if problem is None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(
            f"the Compose tests have to run where CI is set, and no Docker engine answers: {problem}"
        )
    reason = f"no Docker engine answers: {problem}"
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{len(ours)} Compose tests are not run: {reason}")
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the containers said goes with the report of a failed test."""
    report = yield
    if report.failed:
        for name in getattr(item, "fixturenames", ()):
            stack = getattr(item, "funcargs", {}).get(name)
            if isinstance(stack, Stack):
                report.sections.append(("containers", stack.describe()))
    return report


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image, built from the working tree."""
    with Stack.build() as tag:
        yield tag


@pytest.fixture(scope="module")
def stack(image: str) -> Iterator[Stack]:
    """The whole stack with four consumers, healthy; removed with its volumes at the end."""
    with Stack(image) as stack:
        stack.compose("up", "--detach", "--no-build", "--scale", "consumer=4")
        stack.wait_until_healthy({"kafka": 1, "nginx": 1, "visitor": 1, "producer": 1, "consumer": 4, "archiver": 1})
        yield stack
