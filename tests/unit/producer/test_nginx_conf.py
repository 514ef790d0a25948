"""nginx's configuration: its language, its includes, and the format of each followed file."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.producer.nginx.access_logs import find_access_logs
from services.producer.nginx.choice import FormatChoice, load_choice
from services.producer.nginx.files import load_directives
from services.producer.nginx.syntax import ConfigurationError, read_directives
from services.producer.parse import FORMATS, LogFormat

TIMED = "log_format timed '$remote_addr [$time_local] $status' ' $request_time';\n"


def choice_of(configuration: str) -> FormatChoice:
    logs = find_access_logs(read_directives(configuration, "nginx.conf"))
    return FormatChoice(FORMATS[LogFormat.AUTO], logs)


def test_words_quotes_escapes_and_comments_are_read_as_nginx_reads_them() -> None:
    r"""`\"` in quotes, `#` at the start of a word only, `${…}` is no block."""
    text = "# a comment with { ; }\nevents {}\nhttp { a 'it\\'s' \"x;{}#\" b#c ${d}e f\\;g 'two\nlines'; # end\n}\n"
    directives = list(read_directives(text, "nginx.conf"))
    assert [directive.name for directive in directives] == ["events", "http", "a"]
    assert directives[2].arguments == ("it's", "x;{}#", "b#c", "${d}e", "f\\;g", "two\nlines")
    assert directives[2].blocks == ("http",)
    assert str(directives[2].place) == "nginx.conf:3"


def test_a_block_of_lua_is_passed_over() -> None:
    """Its braces and quotes are no configuration."""
    text = "content_by_lua_block { local s = 'it\\'s } {' -- }\n if x then y({1}) end }\nlisten 80;"
    assert [directive.name for directive in read_directives(text, "x")] == ["content_by_lua_block", "listen"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http {\n", "x:2: the file ends and the '}' of http is missing"),
        ("listen 80", "x:1: the file ends and a ';' is missing"),
        ("\n}", "x:2: unexpected '}'"),
        (";", "x:1: unexpected ';'"),
        ("a 'b", "x:1: a quote that nothing closes"),
        ("a\n'b'c;", "x:2: 'c' right behind a closing quote"),
        ("a_by_lua_block { {", "x:1: nothing closes the block of a_by_lua_block"),
    ],
)
def test_what_nginx_would_refuse_is_refused_with_its_place(text: str, message: str) -> None:
    """File and line, as nginx names them."""
    with pytest.raises(ConfigurationError, match=f"^{message.replace('{', '[{]')}$"):
        list(read_directives(text, "x"))


@given(st.text(alphabet="ab \n'\"\\;{}#$-_", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other exception, and an end."""
    with suppress(ConfigurationError):
        list(read_directives(text, "x"))


def test_includes_are_followed_from_the_folder_of_the_main_file(tmp_path: Path) -> None:
    """In the order of the names, within the block that includes them; a pattern may match nothing."""
    (tmp_path / "sites").mkdir()
    (tmp_path / "nginx.conf").write_text("http {\n include sites/*.conf;\n include none/*;\n}\n")
    (tmp_path / "sites" / "b.conf").write_text("access_log /b;")
    (tmp_path / "sites" / "a.conf").write_text("include sites/deep;")
    (tmp_path / "sites" / "deep").write_text("access_log /a;")
    found = [(each.name, each.arguments, each.blocks) for each in load_directives(tmp_path / "nginx.conf")]
    assert found == [("http", (), ()), ("access_log", ("/a",), ("http",)), ("access_log", ("/b",), ("http",))]


@pytest.mark.parametrize(
    ("included", "message"),
    [("nginx.conf", "nginx.conf:1: .* includes itself"), ("missing", "nginx.conf: include: .*missing cannot be read")],
)
def test_a_cycle_and_a_missing_file_are_refused(tmp_path: Path, included: str, message: str) -> None:
    """Named with the file that includes."""
    (tmp_path / "nginx.conf").write_text(f"include {included};")
    with pytest.raises(ConfigurationError, match=message):
        list(load_directives(tmp_path / "nginx.conf"))


def test_each_file_has_the_format_of_its_access_log() -> None:
    """Also in servers and locations, after rotation, and with variables in the path."""
    choice = choice_of(
        f"http {{ {TIMED} log_format other '$status $msec';\n"
        "server { access_log /var/log/nginx/site.log timed buffer=32k;\n"
        "location /x { access_log /var/log/nginx/$host.access.log other; } }\n"
        "access_log /var/log/nginx/plain.log; access_log logs/relative.log timed; }\n"
    )
    expected = {
        "/var/log/nginx/site.log": "timed",
        "/var/log/nginx/site.log.1": "timed",
        "/var/log/nginx/a.example.access.log": "other",
        "/var/log/nginx/plain.log": "combined",
        "/usr/share/nginx/logs/relative.log": "timed",
    }
    for path, name in expected.items():
        chosen = choice.of_file(path)
        assert (chosen.format.name, chosen.is_doubtful) == (name, False), path
        assert "nginx.conf:" in chosen.reason


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ("access_log off;", "no access_log of nginx names the file"),
        ("access_log /elsewhere;", "no access_log of nginx names the file"),
        ("access_log /log; server { access_log /log timed; }", "several formats, combined .* and timed"),
        ("log_format bad '$status'; access_log /log bad;", "nginx.conf:2: log_format bad: the format lacks a time"),
        ("stream { access_log /log timed; }", "no access_log of nginx names the file"),
    ],
)
def test_a_file_without_a_clear_format_gets_log_format_and_says_so(configuration: str, reason: str) -> None:
    """Never a guess in silence."""
    chosen = choice_of(TIMED + configuration).of_file("/log")
    assert chosen.format is FORMATS[LogFormat.AUTO]
    assert chosen.is_doubtful
    assert re.search(reason, chosen.reason), chosen.reason


def test_logs_that_cannot_be_followed_are_noted() -> None:
    """Syslog and compressed files."""
    choice = choice_of(f"{TIMED} access_log syslog:server=unix:/dev/log timed; access_log /log.gz timed gzip=4;")
    syslog, compressed = choice.notes
    assert "syslog" in syslog
    assert "compressed" in compressed


def test_an_unusable_format_of_a_followed_log_is_an_error_at_the_start(tmp_path: Path) -> None:
    """With file and line; that of a log nobody follows is none."""
    conf = tmp_path / "nginx.conf"
    conf.write_text("log_format bad '$status';\naccess_log /var/log/a.log bad;\n")
    with pytest.raises(ConfigurationError, match=r"nginx.conf:1: log_format bad: the format lacks a time"):
        load_choice(conf, FORMATS[LogFormat.AUTO], ["/var/log/*.log"])
    load_choice(conf, FORMATS[LogFormat.AUTO], ["/other/*.log"])
    conf.write_text("access_log /var/log/a.log unknown;\n")
    with pytest.raises(ConfigurationError, match="no log_format is called 'unknown'"):
        load_choice(conf, FORMATS[LogFormat.AUTO], ["/other/*.log"])
