"""The expression that takes every line of a format, in linear time, and where a line stops to be one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from services.producer.parse.bytesets import BLANKS, EVERY_BYTE, byte_class
from services.producer.parse.neighbours import (
    BLANKLESS_KINDS,
    OPEN_KINDS,
    Surroundings,
    closed_expression,
    escaped_bytes,
    list_expression,
    surroundings,
)
from services.producer.parse.syntax import Escape, Literal, OptionalPart, Slot, Syntax, Token
from services.producer.parse.variables import LISTS, Variable

# A line is looked at so far only to say what is wrong with it.
EXPLAINED_BYTES = 65_536
SHOWN_BYTES = 40


@dataclass(frozen=True)
class GeneralExpression:
    """For `fullmatch` of one line without its newline. A group for each variable that is kept, in order."""

    syntax: Syntax

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(_level(self.syntax.tokens, self.syntax.escape), re.DOTALL)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """What the groups hold."""
        return tuple(slot.variable for slot in slots(self.syntax.tokens) if slot.kept)

    def explain(self, line: bytes) -> str:
        """Where and why a line is not in the format, for a person; the column counts bytes from 1."""
        position = 0
        before = None
        for step in self._steps:
            match = step.pattern.match(line, position, position + EXPLAINED_BYTES)
            if match is None:
                return _explanation(line, position, step, before)
            before = (step, position)
            position = match.end()
            if step.may_end and position == len(line):
                break
        if position < len(line):
            return f"column {position + 1}: the format ends here, the line goes on with {shown(line[position:])}"
        return "the line ends too early or a value holds what separates values"

    @cached_property
    def _steps(self) -> tuple[_Step, ...]:
        return tuple(_steps(self.syntax.tokens, self.syntax.escape))


@dataclass(frozen=True)
class _Step:
    """One token: what it must match, and how a person calls it."""

    pattern: re.Pattern[bytes]
    name: str
    is_open: bool
    may_end: bool


def slots(tokens: Sequence[Token]) -> Iterator[Slot]:
    """The places of variables, those of optional parts last."""
    for token in tokens:
        if isinstance(token, OptionalPart):
            yield from slots(token.tokens)
        elif isinstance(token, Slot):
            yield token


def _level(tokens: Sequence[Token], escape: Escape) -> bytes:
    expression = b""
    for token, around in zip(tokens, surroundings(tokens, escape), strict=True):
        if isinstance(token, Literal):
            expression += re.escape(token.text)
        elif isinstance(token, OptionalPart):
            expression += b"(?:" + _level(token.tokens, escape) + b")?"
        elif around is not None:
            expression += (b"(" if token.kept else b"(?:") + slot_expression(token, around, escape) + b")"
    return expression


def slot_expression(slot: Slot, around: Surroundings, escape: Escape) -> bytes:
    """What a value looks like where it stands. Quantifiers never give back (`*+`): a hostile line stays linear."""
    kind = slot.variable.kind
    if kind in LISTS:
        return list_expression(kind, escape, around)
    if kind not in OPEN_KINDS:
        return closed_expression(kind, escape)
    raw = EVERY_BYTE - (escaped_bytes(escape) & frozenset(b'"\\'))
    if kind in BLANKLESS_KINDS:
        raw -= BLANKS
    tempered = (around.ends & raw) - escaped_bytes(escape)
    alternatives = [byte_class(raw - around.ends) + b"++"]
    if escape is not Escape.NONE:
        alternatives.append(rb"\\.")
    if tempered:
        refused = [around.following] if around.after else []
        refused += [ban.expression for ban in around.bans]
        alternatives.append(b"".join(b"(?!%b)" % each for each in refused) + byte_class(tempered))
    return b"(?:" + b"|".join(alternatives) + b")*+"


def _steps(tokens: Sequence[Token], escape: Escape) -> Iterator[_Step]:
    for index, (token, around) in enumerate(zip(tokens, surroundings(tokens, escape), strict=True)):
        may_end = index + 1 == len(tokens) or isinstance(tokens[index + 1], OptionalPart)
        if isinstance(token, Literal):
            yield _Step(re.compile(re.escape(token.text)), shown(token.text), False, may_end)
        elif isinstance(token, OptionalPart):
            yield from _steps(token.tokens, escape)
        elif around is not None:
            near = replace(around, following=re.escape(around.after), bans=(), rivals=())
            pattern = re.compile(slot_expression(token, near, escape), re.DOTALL)
            name = f"${token.variable.name} ({token.variable.kind.value})"
            yield _Step(pattern, name, token.variable.kind in OPEN_KINDS, may_end)


def _explanation(line: bytes, position: int, step: _Step, before: tuple[_Step, int] | None) -> str:
    if before is not None and before[0].is_open and position == len(line):
        variable, begin = before
        return f"column {begin + 1}: {variable.name} begins here and no {step.name} follows it"
    found = shown(line[position:]) if position < len(line) else "the end of the line"
    return f"column {position + 1}: {step.name} is expected, {found} is there"


def shown(raw: bytes, limit: int = SHOWN_BYTES) -> str:
    """A short, printable piece of bytes that anybody may have chosen."""
    text = ascii(raw[:limit].decode("latin-1"))
    return text if len(raw) <= limit else text + "…"
