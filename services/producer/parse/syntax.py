"""The text of a `log_format`, taken apart: literals and variables with their columns.

nginx's own rules (ngx_http_log_module): `$name` or `${name}`, names of letters, digits and underscores; a first word
`escape=default`, `escape=json` or `escape=none` says how values are written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.producer.parse.variables import COMPOSED_TARGET, IDENTITY, TIMES, Kind, Path, Variable, find_variable

MAX_FORMAT_CHARACTERS = 16_384
MAX_VARIABLES = 200

_PIECE = re.compile(r"\$(?:(?P<name>\w+)|\{(?P<braced>\w+)\})|(?P<text>[^$]+)|(?P<stray>\$)", re.ASCII)
_ESCAPE_WORD = re.compile(r"\s*escape=(\S*)\s+(.*)", re.DOTALL)


class Escape(StrEnum):
    """How nginx writes values: the parameter `escape` of `log_format`."""

    DEFAULT = "default"
    JSON = "json"
    NONE = "none"


class FormatRefused(Exception):
    """The format cannot be parsed reliably; the message says why, for a person, with the column from 1."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that stand in every line."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a variable. `kept` is false for the second place of one and for what has no field."""

    variable: Variable
    column: int
    kept: bool = True


@dataclass(frozen=True, slots=True)
class OptionalPart:
    """What stands at the end of some lines only."""

    tokens: tuple[Token, ...]


Token = Literal | Slot | OptionalPart


@dataclass(frozen=True)
class Syntax:
    """A format that can be parsed: its tokens in order; no two variables are neighbours."""

    escape: Escape
    tokens: tuple[Token, ...]


def split_escape(text: str) -> tuple[Escape, str]:
    """A leading `escape=…` and the format behind it. Raises FormatRefused for another word than nginx knows."""
    match = _ESCAPE_WORD.fullmatch(text)
    if match is None:
        return Escape.DEFAULT, text
    if match[1] not in set(Escape):
        raise FormatRefused(f"escape={match[1]} is not known; nginx has {', '.join(Escape)}")
    return Escape(match[1]), match[2]


def read_format(text: str, escape: Escape = Escape.DEFAULT, *, optional: Sequence[str] = ()) -> Syntax:
    """Take a format apart. Each of `optional` may follow what is before it. Raises FormatRefused."""
    if len(text) > MAX_FORMAT_CHARACTERS:
        raise FormatRefused(f"the format has {len(text)} characters; {MAX_FORMAT_CHARACTERS} are the most")
    pieces = [_pieces(part) for part in (text, *optional)]
    names = [piece for part in pieces for piece, _column in part if isinstance(piece, str)]
    if len(names) > MAX_VARIABLES:
        raise FormatRefused(f"the format has {len(names)} variables; {MAX_VARIABLES} are the most")
    seen: set[Path] = set()
    parts = [_tokens(part, frozenset(names), seen) for part in pieces]
    tokens = parts.pop()
    while parts:
        tokens = (*parts.pop(), OptionalPart(tokens))
    _require(tokens, names)
    return Syntax(escape, tokens)


def _pieces(text: str) -> list[tuple[str | bytes, int]]:
    """Names of variables as text and literals as bytes, each with its column from 1."""
    found: list[tuple[str | bytes, int]] = []
    for match in _PIECE.finditer(text):
        column = match.start() + 1
        if match["stray"]:
            raise FormatRefused(f"column {column}: a `$` without the name of a variable behind it")
        if match["text"]:
            before, line_break, _rest = match["text"].partition("\n")
            if line_break:
                raise FormatRefused(f"column {column + len(before)}: a line break; one line is one record")
            found.append((match["text"].encode(errors="surrogateescape"), column))
        else:
            found.append((match["name"] or match["braced"], column))
    return _compose_target(found)


def _compose_target(pieces: list[tuple[str | bytes, int]]) -> list[tuple[str | bytes, int]]:
    """`$uri$is_args$args` is one target: nginx itself puts the question mark."""
    joined: list[tuple[str | bytes, int]] = []
    for piece, column in pieces:
        joined.append((piece, column))
        if tuple(name for name, _column in joined[-3:]) == COMPOSED_TARGET:
            joined[-3:] = [("request_uri", joined[-3][1])]
    return joined


def _tokens(pieces: Sequence[tuple[str | bytes, int]], names: frozenset[str], seen: set[Path]) -> tuple[Token, ...]:
    tokens: list[Token] = []
    for piece, column in pieces:
        if isinstance(piece, bytes):
            tokens.append(Literal(piece))
            continue
        variable = IDENTITY if piece == IDENTITY.name else find_variable(piece, names)
        if tokens and isinstance(tokens[-1], Slot):
            before = tokens[-1].variable.name
            raise FormatRefused(
                f"column {column}: ${piece} follows ${before} with nothing in between, so nobody can tell "
                "where one ends; put a blank or a quote between them"
            )
        tokens.append(Slot(variable, column, kept=variable.kind is not Kind.IGNORED and variable.path not in seen))
        seen.add(variable.path)
    return tuple(tokens)


def _require(tokens: Sequence[Token], names: Sequence[str]) -> None:
    """A record needs a time and a status."""
    kinds = {token.variable.kind for token in tokens if isinstance(token, Slot)}
    missing = [] if kinds & TIMES else ["a time ($time_iso8601, $time_local or $msec)"]
    if Kind.STATUS not in kinds:
        missing.append("$status")
    if missing:
        has = ", ".join(f"${name}" for name in names) or "no variable at all"
        raise FormatRefused(f"the format lacks {' and '.join(missing)}; it has {has}")
