"""From what was typed to the variables of the stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.control.__main__ import choose_mode, open_stack
from compose.control.choices import (
    check_logs,
    check_nginx_conf,
    check_numbers,
    demo_wanted,
    known_variables,
    not_taken,
    parse_scale,
    uses_own_database,
    with_log_files,
    with_nginx_conf,
)
from compose.control.state import StackState
from compose.control.topology import read_services
from compose.errors import OperatorError

HERE = Path("/home/me")
SERVICES = (Path(__file__).resolve().parents[3] / "compose" / "services.yaml").read_text()


def test_the_database_of_the_stack_is_for_a_writer_without_another_one() -> None:
    """`make scale postgres-writer=1` starts it with Docker, and local mode, which has none, asks for yours."""
    services = read_services(SERVICES, {})
    assert uses_own_database([services["consumer"], services["postgres-writer"]], {})
    assert not uses_own_database([services["postgres-writer"]], {"POSTGRES_URL": "postgresql://mine/logs"})
    assert not uses_own_database([services["consumer"]], {})


def test_own_logs_of_one_folder_become_a_mount_and_patterns_in_it() -> None:
    """Both modes then treat the folder as the container's log folder."""
    variables = with_log_files({"LOGS": "/srv/log/*access*.log, /srv/log/other.log"}, "docker", HERE)
    assert variables["NGINX_LOG_DIR"] == "/srv/log"
    assert variables["LOG_FILES"] == "/var/log/nginx/*access*.log,/var/log/nginx/other.log"
    assert not demo_wanted(variables)


def test_relative_logs_are_taken_from_the_current_folder() -> None:
    """A path is what it was where it was typed."""
    assert with_log_files({"LOGS": "logs/a.log"}, "local", HERE)["NGINX_LOG_DIR"] == "/home/me/logs"


def test_logs_of_several_folders_are_for_local_mode_only() -> None:
    """Docker mounts one folder; the refusal says what to do instead."""
    logs = {"LOGS": "/a/x.log,/b/y.log"}
    assert with_log_files(logs, "local", HERE)["LOG_FILES"] == "/a/x.log,/b/y.log"
    with pytest.raises(OperatorError) as caught:
        with_log_files(logs, "docker", HERE)
    assert "MODE=local" in caught.value.next_step


def test_without_own_logs_the_demo_runs() -> None:
    """Unless it was switched off."""
    assert demo_wanted(with_log_files({"LOGS": ""}, "local", HERE))
    assert not demo_wanted({"DEMO_REPLICAS": "0"})


def test_only_variables_of_the_stack_are_kept() -> None:
    """A shell has many others."""
    assert known_variables(frozenset({"START_AT"}), {"START_AT": "end", "HOME": "/", "LOGS": "x"}) == {
        "START_AT": "end",
        "LOGS": "x",
    }


def test_scale_is_parsed() -> None:
    """Any service of the stack can be named."""
    assert parse_scale(["consumer=4", "archiver=0"], ["consumer", "archiver"]) == {"consumer": 4, "archiver": 0}


@pytest.mark.parametrize("words", [[], ["consumer"], ["consumer=x"], ["consumer=-1"], ["consumer=65"], ["nobody=1"]])
def test_a_wrong_scale_is_refused(words: list[str]) -> None:
    """Nothing, no number, too many, an unknown name."""
    with pytest.raises(OperatorError):
        parse_scale(words, ["consumer"])


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    """`up` goes on: the producer looks for them again."""
    (tmp_path / "a.log").touch()
    assert list(check_logs([str(tmp_path / "a*.log")])) == []
    assert "No file matches" in next(check_logs([str(tmp_path / "b*.log")]))


def test_a_running_stack_decides_the_mode() -> None:
    """Later verbs need no MODE, and a second mode beside it is refused."""
    running = StackState(mode="local", running=True)
    assert choose_mode("", running) == "local"
    with pytest.raises(OperatorError, match="local mode"):
        choose_mode("docker", running)


def test_a_stopped_stack_is_still_the_one_to_go_on_with() -> None:
    """`up` after `down` finds its data, `clean` removes what was stopped; another mode must be asked for."""
    assert choose_mode("", StackState(mode="local")) == "local"
    assert choose_mode("docker", StackState(mode="local")) == "docker"


def test_an_unknown_mode_is_refused() -> None:
    """The message names it."""
    with pytest.raises(OperatorError, match="MODE=podman"):
        choose_mode("podman", None)


def test_the_folder_of_nginx_conf_is_mounted() -> None:
    """A relative path counts from where make was called; a folder that is named stays."""
    given = {"NGINX_CONF": "conf/site.conf"}
    assert with_nginx_conf(given, Path("/opt/nginx")) == {
        "NGINX_CONF": "/etc/nginx/site.conf",
        "NGINX_CONF_DIR": "/opt/nginx/conf",
    }
    for unchanged in ({}, {"NGINX_CONF": "/etc/nginx/nginx.conf", "NGINX_CONF_DIR": "/srv/conf"}):
        assert with_nginx_conf(unchanged, Path("/opt")) == unchanged


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"CONSUMER_REPLICAS": "-1"}, "CONSUMER_REPLICAS='-1' is not allowed: a whole number from 0 to 64"),
        ({"ARCHIVER_REPLICAS": "2.5"}, "ARCHIVER_REPLICAS='2.5'"),
        ({"DEMO_REPLICAS": "none"}, "DEMO_REPLICAS='none'"),
        ({"CONSUMER_REPLICAS": "65"}, "CONSUMER_REPLICAS='65'"),
        ({"DEMO_RATE": "fast"}, "DEMO_RATE='fast' is not allowed: requests per second, above 0"),
        ({"DEMO_RATE": "0"}, "DEMO_RATE='0'"),
        ({"DEMO_RATE": "nan"}, "DEMO_RATE='nan'"),
        ({"DEMO_RATE": "100001"}, "DEMO_RATE='100001'"),
    ],
)
def test_a_number_that_is_none_is_refused(variables: dict[str, str], told: str) -> None:
    """With its name, before the stack or the memory of it is touched."""
    with pytest.raises(OperatorError, match=told) as caught:
        check_numbers(variables)
    assert "Nothing was changed" in caught.value.next_step


def test_right_numbers_and_none_at_all_pass() -> None:
    """An empty value takes an earlier one back."""
    check_numbers({"CONSUMER_REPLICAS": "0", "ARCHIVER_REPLICAS": "64", "DEMO_REPLICAS": "", "DEMO_RATE": "0.5"})


def test_a_wrong_number_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the verb would have failed later."""
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose.yaml").write_text("include: []\n")
    (tmp_path / "compose" / "services.yaml").write_text(
        "services: {a: {deploy: {replicas: '${CONSUMER_REPLICAS:-2}'}}}\n"
    )
    monkeypatch.setenv("CONSUMER_REPLICAS", "-1")
    monkeypatch.setenv("MODE", "local")
    with pytest.raises(OperatorError, match="CONSUMER_REPLICAS"):
        open_stack(tmp_path)
    assert not (tmp_path / ".run").exists()


def test_a_configuration_of_nginx_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """By the path that was typed; one that is there passes, and so does one in a volume."""
    (tmp_path / "nginx.conf").touch()
    check_nginx_conf(with_nginx_conf({"NGINX_CONF": "nginx.conf"}, tmp_path))
    check_nginx_conf({"NGINX_CONF": "/etc/nginx/nginx.conf", "NGINX_CONF_DIR": "nginx_configuration"})
    check_nginx_conf({})
    with pytest.raises(OperatorError, match="NGINX_CONF='/nope' is not usable: it does not exist") as caught:
        check_nginx_conf(with_nginx_conf({"NGINX_CONF": "/nope"}, tmp_path))
    assert "Nothing was changed" in caught.value.next_step
    with pytest.raises(OperatorError, match="it is no file"):
        check_nginx_conf(with_nginx_conf({"NGINX_CONF": str(tmp_path)}, tmp_path))


def test_what_would_change_nothing_is_told() -> None:
    """Not silently passed over: who types SINK=alerts expects alarms."""
    assert list(not_taken({"SINK": "", "PATH": "/bin", "WHERE": "status > 1"})) == []
    [line] = not_taken({"SINK": "alerts"})
    assert "SINK=alerts changes nothing" in line
