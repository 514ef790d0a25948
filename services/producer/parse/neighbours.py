r"""Where a value without blanks or quotes around it ends: what follows each variable, and what it must not hold.

nginx writes a format's literals and values one after the other, so a value may hold the literal that ends it. Four
rules keep a line from being read wrongly:

- A byte that nginx would have escaped in the value (the quote, with `escape=default` and `json`) ends it for sure.
- Else the value ends where what follows matches for the first time: the literal, and every typed variable behind it
  (`$remote_user [$time_local]` ends at ` [` only when a time and a `]` follow).
- Where that does not settle it (`$host|$uri|…`), none of the values may hold the literal: such a line is no record.
- A list goes on where `, ` or ` : ` and an item follow. Where those could be the begin of what follows the list too
  (`$upstream_addr $http_cookie`), such a line is no record. No value without blanks is a colon and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.producer.parse.bytesets import BLANKS, DIGITS, ByteSet
from services.producer.parse.syntax import Escape, FormatRefused, Literal, OptionalPart, Slot, Token
from services.producer.parse.variables import LISTS, Kind

OPEN_KINDS = frozenset({Kind.TEXT, Kind.WORD, Kind.ADDRESS, Kind.REQUEST, Kind.TARGET, Kind.IGNORED})
"""What no expression of their own tells from what follows."""
UNBOUNDED_KINDS = OPEN_KINDS | {Kind.WORDS}
BLANKLESS_KINDS = UNBOUNDED_KINDS - {Kind.TEXT, Kind.REQUEST}
SEPARATORS = (b", ", b" : ")
"""What nginx writes between the items of a list."""

_TIME_LOCAL = rb"\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
_TIME_ISO8601 = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d|Z)"
_CLOSED: dict[Kind, bytes] = {
    Kind.STATUS: rb"\d{3}",
    Kind.COUNT: rb"\d{1,18}|-",
    Kind.NUMBER: rb"\d{1,9}(?:\.\d{1,9})?|-",
    Kind.TIME_LOCAL: _TIME_LOCAL,
    Kind.TIME_ISO8601: _TIME_ISO8601,
    Kind.EPOCH: rb"\d{1,10}\.\d{3}",
    Kind.STATUSES: rb"\d{3}|-",
    Kind.COUNTS: rb"\d{1,18}|-",
    Kind.NUMBERS: rb"\d{1,9}(?:\.\d{1,9})?|-",
}
_NUMBERS = frozenset({Kind.STATUS, Kind.STATUSES, Kind.COUNT, Kind.COUNTS, Kind.NUMBER, Kind.NUMBERS})
_NEVER_EMPTY = frozenset({Kind.STATUS, Kind.TIME_LOCAL, Kind.TIME_ISO8601, Kind.EPOCH})


@dataclass(frozen=True, slots=True)
class Ban:
    """What later values must not hold. `within_word` ends at the next blank: a value without blanks began it."""

    expression: bytes
    first: int
    within_word: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a slot must know. `after` is the literal behind it, empty at the end of the line.

    `rivals`, for a list: its separators that what follows may look like. `follower` is the slot behind `after`.
    """

    quoted: bool
    after: bytes
    following: bytes
    bans: tuple[Ban, ...]
    rivals: tuple[bytes, ...]
    follower: Slot | None

    @property
    def ends(self) -> ByteSet:
        """First bytes of what ends the value or must not be in it."""
        return frozenset((*self.after[:1], *(ban.first for ban in self.bans)))


def escaped_bytes(escape: Escape) -> ByteSet:
    """What nginx never writes raw inside of a value."""
    return frozenset() if escape is Escape.NONE else frozenset((*range(0x20), *b'"\\'))


def closed_expression(kind: Kind, escape: Escape) -> bytes:
    """What a typed value that is no list looks like. Alternatives are in a group."""
    return _group(_CLOSED[kind], kind, escape)


def list_expression(kind: Kind, escape: Escape, around: Surroundings) -> bytes:
    """What a whole list looks like: nothing that could be more of it stands behind it."""
    item = b"(?:" + _item(kind, escape, around.ends) + b")"
    guard = b"".join(b"(?!%b)" % ban.expression for ban in around.bans)
    taken = [separator for separator in SEPARATORS if separator not in around.rivals]
    guarded = [b"".join(guard + re.escape(bytes((byte,))) for byte in separator) for separator in taken]
    more = b"(?:(?:" + b"|".join(guarded) + b")" + item + b")*+" if guarded else b""
    end = b"(?!(?:" + b"|".join(SEPARATORS) + b")" + item + b")"
    return _group(item + more + end, kind, escape)


def _group(expression: bytes, kind: Kind, escape: Escape) -> bytes:
    """nginx writes nothing for what is not set, but with `escape=default` a hyphen."""
    return b"(?:" + expression + (b"|" if _may_be_empty(kind, escape) else b"") + b")"


def _may_be_empty(kind: Kind, escape: Escape) -> bool:
    return kind in OPEN_KINDS or (escape is not Escape.DEFAULT and kind not in _NEVER_EMPTY)


def _item(kind: Kind, escape: Escape, ends: ByteSet) -> bytes:
    if kind is not Kind.WORDS:
        return _CLOSED[kind]
    excluded = BLANKS | escaped_bytes(escape) | ends | frozenset(b",")
    return b"[^" + b"".join(rb"\x%02x" % byte for byte in sorted(excluded)) + b"]++"


def surroundings(tokens: Sequence[Token], escape: Escape) -> Iterator[Surroundings | None]:
    """For each token of one level: what a slot must know, None for a literal. Raises FormatRefused."""
    bans: list[Ban] = []
    for index, token in enumerate(tokens):
        if isinstance(token, Literal):
            bans = _still_valid(bans, token.text, escape)
        if not isinstance(token, Slot):
            yield None
            continue
        before = _literal(tokens, index - 1)
        after = _literal(tokens, index + 1)
        following, text, is_settled = _what_follows(tokens[index + 1 :], escape)
        _require_an_end(token, after, escape)
        is_shared = before == b'"' and index > 1  # the quote closes the value before
        quoted = before.endswith(b'"') and after.startswith(b'"') and not is_shared
        rivals = tuple(each for each in SEPARATORS if _may_look_like(each, tokens[index + 1 :], escape))
        behind = tokens[index + 2] if index + 2 < len(tokens) else None
        follower = behind if isinstance(behind, Slot) else None
        yield Surroundings(quoted, after, following, tuple(bans), rivals, follower)
        if token.variable.kind in UNBOUNDED_KINDS and after and not is_settled:
            bans += _new_ban(token, tokens[index + 2 :], after, following, text, escape)


def _literal(tokens: Sequence[Token], index: int) -> bytes:
    token = tokens[index] if 0 <= index < len(tokens) else None
    return token.text if isinstance(token, Literal) else b""


def _what_follows(rest: Sequence[Token], escape: Escape) -> tuple[bytes, bytes, bool]:
    """An expression of bounded length for what follows a slot, the literals in it, and whether it reaches the end."""
    expression, text = b"", b""
    for token in rest:
        if isinstance(token, Literal):
            expression += re.escape(token.text)
            text += token.text
        elif isinstance(token, OptionalPart) or token.variable.kind in UNBOUNDED_KINDS:
            return expression, text, False
        elif token.variable.kind in LISTS:  # its first item: a whole list has no bounded length
            item = _item(token.variable.kind, escape, frozenset())
            return expression + _group(item, token.variable.kind, escape), text, False
        else:
            expression += closed_expression(token.variable.kind, escape)
    return expression + rb"\Z", text, True


def _may_look_like(separator: bytes, rest: Sequence[Token], escape: Escape) -> bool:
    """Whether what follows a list may begin with what parts its items."""
    text = b""
    for token in rest:
        if isinstance(token, Literal):
            text += token.text
            if text.startswith(separator):
                return True
        elif isinstance(token, OptionalPart) or not separator.startswith(text):
            return False
        elif token.variable.kind in UNBOUNDED_KINDS - BLANKLESS_KINDS:
            return True
        elif not _may_be_empty(token.variable.kind, escape):
            return False
    return False


def _still_valid(bans: list[Ban], text: bytes, escape: Escape) -> list[Ban]:
    """The bans that go on behind a literal: no value before it could have reached over it."""
    if escaped_bytes(escape) & frozenset(text):
        return []
    return [ban for ban in bans if not (ban.within_word and BLANKS & frozenset(text))]


def _new_ban(
    slot: Slot, behind: Sequence[Token], after: bytes, following: bytes, text: bytes, escape: Escape
) -> Sequence[Ban]:
    kind = slot.variable.kind
    impossible = escaped_bytes(escape) | (BLANKS if kind in BLANKLESS_KINDS else frozenset())
    if impossible & frozenset(text):
        return ()
    if not after.strip() and following == re.escape(after):
        neighbour = next((token for token in behind if isinstance(token, Slot)), slot)
        raise FormatRefused(
            f"column {slot.column}: ${slot.variable.name} may hold blanks and only a blank parts it from "
            f"${neighbour.variable.name}; put quotes around it"
        )
    return (Ban(following, after[0], kind in BLANKLESS_KINDS),)


def _require_an_end(slot: Slot, after: bytes, escape: Escape) -> None:
    """Raises FormatRefused where the literal behind a value looks like more of it."""
    kind, name = slot.variable.kind, f"column {slot.column}: ${slot.variable.name}"
    if kind in _NUMBERS and frozenset(after[:1]) & (DIGITS | frozenset(b".")):
        raise FormatRefused(f"{name} is a number and {after[:1].decode()!r} follows it; put a blank between them")
    if kind in LISTS and after.startswith(SEPARATORS):
        raise FormatRefused(f"{name} is a list and what follows looks like more of it; put quotes around it")
    is_more_of_it = after[:1].isalnum() or after.startswith((b".", b":") if kind is Kind.WORDS else b".")
    if is_more_of_it and kind in UNBOUNDED_KINDS:
        raise FormatRefused(
            f"{name} is followed by {after[:1].decode()!r}, which may be part of it; put a blank between"
        )
    if kind in OPEN_KINDS and escape is not Escape.NONE and after.startswith(b"\\"):
        raise FormatRefused(f"{name} is followed by a backslash, which begins an escape; put a blank between them")
