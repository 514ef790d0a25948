"""What outlives a verb: one state for each mode, in one file that nobody else reads."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from compose.control.state import StackState, StateFile, write_private

BOOTSTRAP = Path(__file__).resolve().parents[3] / "compose" / "control" / "bootstrap.sh"
LOCAL, DOCKER = StackState(mode="local", kafka="cluster"), StackState(mode="docker", kafka="external")


def test_each_mode_keeps_its_own(tmp_path: Path) -> None:
    """The one that was saved last is the one to go on with."""
    file = StateFile(tmp_path)
    assert file.load() is None
    file.save(DOCKER)
    file.save(LOCAL)
    assert (file.load(), file.load("docker"), file.load("local")) == (LOCAL, DOCKER, LOCAL)
    file.forget("local")
    assert (file.load(), file.load("local")) == (DOCKER, None)
    file.forget("docker")
    file.forget("docker")
    assert file.load() is None
    assert not [*tmp_path.iterdir()]


def test_the_script_before_the_verbs_finds_the_mode(tmp_path: Path) -> None:
    """It has no Python yet, and looks for a piece of the text."""
    [pattern] = re.findall(r"grep -qs '([^']+)' \.run/stack\.json", BOOTSTRAP.read_text())
    file = StateFile(tmp_path)
    for state, expected in ((LOCAL, True), (DOCKER, False), (LOCAL, True)):
        file.save(state)
        assert bool(re.search(pattern, (tmp_path / "stack.json").read_text())) == expected


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """Choices may hold the address of a webhook, which is a secret. One that others could read is closed."""
    StateFile(tmp_path).save(LOCAL)
    (tmp_path / "open").touch(mode=0o644)
    write_private(tmp_path / "open", "text")
    assert (tmp_path / "open").read_text() == "text"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
