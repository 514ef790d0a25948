"""nginx's configuration language, taken apart. Pure.

The rules are those of ngx_conf_read_token: words parted by blanks, quotes at the start of a word, backslashes,
comments, `;` and blocks. Blocks of Lua code are passed over. A parser of our own because the known one, crossplane, has
had no release since 2022, has no types and reads files itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = re.compile(r"(?:\s+|#[^\n]*)+")
_WORD = re.compile(r"(?:\$\{|\\.|[^\s;{\\]|\\(?=\Z))+", re.DOTALL)
_QUOTED = {quote: re.compile(rf"{quote}((?:\\.|[^\\{quote}])*){quote}", re.DOTALL) for quote in "'\""}
_ESCAPE = re.compile(r"""\\(["'\\trn])""")
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
_LUA = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|--[^\n]*|[{}]', re.DOTALL)


class ConfigurationError(Exception):
    """The configuration is not what nginx would take; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive with the names of the blocks that it is in, outermost first."""

    name: str
    arguments: tuple[str, ...]
    place: Place
    blocks: tuple[str, ...]


def read_directives(text: str, file: str, blocks: tuple[str, ...] = ()) -> Iterator[Directive]:
    """The directives of one file in order, those of blocks included. Raises ConfigurationError."""
    return _Reader(text, file, list(blocks)).directives()


class _Reader:
    def __init__(self, text: str, file: str, blocks: list[str]) -> None:
        self._text = text
        self._file = file
        self._blocks = blocks
        self._outer_count = len(blocks)
        self._position = 0
        self._line = 1
        self._counted = 0

    def directives(self) -> Iterator[Directive]:
        words: list[str] = []
        place = self._place()
        while (character := self._skip_blanks()) is not None:
            if not words:
                place = self._place()
            if character not in ";{}":
                words.append(self._word(character))
                continue
            self._position += 1
            if character == "}":
                self._close(words)
                continue
            if not words:
                raise ConfigurationError(f"{place}: unexpected {character!r}")
            name, *arguments = words
            yield Directive(name, tuple(arguments), place, tuple(self._blocks))
            if character == "{":
                self._open(name, place)
            words = []
        if words or len(self._blocks) > self._outer_count:
            missing = "a ';'" if words else f"the '}}' of {self._blocks[-1]}"
            raise ConfigurationError(f"{self._place()}: the file ends and {missing} is missing")

    def _skip_blanks(self) -> str | None:
        """The next character that means something, None at the end."""
        if blank := _BLANK.match(self._text, self._position):
            self._position = blank.end()
        return self._text[self._position] if self._position < len(self._text) else None

    def _word(self, first: str) -> str:
        if first in _QUOTED:
            match = _QUOTED[first].match(self._text, self._position)
            if match is None:
                raise ConfigurationError(f"{self._place()}: a quote that nothing closes")
            self._position = match.end()
            behind = self._text[match.end() : match.end() + 1]
            if behind and not behind.isspace() and behind not in ";{)":
                raise ConfigurationError(f"{self._place()}: {behind!r} right behind a closing quote")
            return _unescape(match[1])
        match = _WORD.match(self._text, self._position)
        assert match is not None, "every character that is no blank and no mark begins a word"
        self._position = match.end()
        return _unescape(match[0])

    def _open(self, name: str, place: Place) -> None:
        if not name.endswith("_by_lua_block"):
            self._blocks.append(name)
            return
        depth = 1
        for mark in _LUA.finditer(self._text, self._position):
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                self._position = mark.end()
                return
        raise ConfigurationError(f"{place}: nothing closes the block of {name}")

    def _close(self, words: list[str]) -> None:
        if words or len(self._blocks) == self._outer_count:
            raise ConfigurationError(f"{self._place()}: unexpected '}}'")
        self._blocks.pop()

    def _place(self) -> Place:
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return Place(self._file, self._line)


def _unescape(word: str) -> str:
    return _ESCAPE.sub(lambda match: _CONTROLS.get(match[1], match[1]), word)
