"""The expression that takes most lines of a format straight to JSON, and what to make of its groups.

It takes only lines whose bytes stand in JSON unchanged (no backslash, no control byte, nothing from 0x7f up, no quote
in a value), and no value that holds the first byte of what ends it: so it cannot read a line in another way than the
general expression. Numbers have no leading zeros and at most 18 digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.producer.parse.bytesets import PLAIN, SOLID, ByteSet, byte_class
from services.producer.parse.neighbours import SEPARATORS, Surroundings, surroundings
from services.producer.parse.syntax import Escape, Literal, OptionalPart, Slot, Syntax, Token
from services.producer.parse.variables import LISTS, METHOD, PATH, PROTOCOL, QUERY, TIMES, Kind, Path

_NEVER = rb"(?!)"
_METHOD = rb"[A-Z]+"
_PROTOCOL = rb"HTTP/\d\.\d"
# A literal that begins with one of these may stand in a request that its expression takes.
_IN_REQUEST = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.?")
_IN_TARGET = frozenset(b"/?")
_HYPHEN = frozenset(b"-")
# What these begin with is no part of a request behind a blank: a digit, a hyphen.
_UNLIKE_A_TARGET = frozenset({Kind.STATUS, Kind.COUNT, Kind.NUMBER, Kind.TIME_ISO8601, Kind.EPOCH, Kind.TIME_LOCAL})

_ITEMS = {
    Kind.STATUS: rb"[1-9]\d\d",
    Kind.COUNT: rb"0|[1-9]\d{0,17}",
    Kind.NUMBER: rb"\d{1,9}\.\d{1,3}",
    Kind.TIME_LOCAL: rb"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    Kind.TIME_ISO8601: rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d|Z)",
    Kind.STATUSES: rb"[1-9]\d\d",
    Kind.COUNTS: rb"0|[1-9]\d{0,17}",
    Kind.NUMBERS: rb"\d{1,9}\.\d{1,3}",
}
_REQUIRED = frozenset({Kind.STATUS, Kind.TIME_LOCAL, Kind.TIME_ISO8601})


@dataclass(frozen=True, slots=True)
class Hole:
    """A group's place in the JSON. `mark` stands in the template; `code` makes its bytes from the group's name."""

    path: Path
    mark: bytes
    code: str


_AS_IS, _IN_QUOTES = "{0}", b'"%b"'
_QUOTED = "NULL if {0} is NULL else b'\"%b\"' % {0}"
_CODES = {
    Kind.NUMBER: "numbers[{0}]",
    Kind.WORDS: "NULL if {0} is NULL else b'[\"%b\"]' % {0}",
    Kind.STATUSES: "NULL if {0} is NULL else b'[%b]' % {0}",
    Kind.COUNTS: "NULL if {0} is NULL else b'[%b]' % {0}",
    Kind.NUMBERS: "NULL if {0} is NULL else b'[%b]' % numbers[{0}]",
}


@dataclass(frozen=True)
class FastExpression:
    """`pattern` is for `finditer` over a chunk; `groups` has a name for each of its groups, `holes` what uses them.

    The text of the group `time` is looked up in the cache of times; `address` is the client's, None without one.
    """

    pattern: re.Pattern[bytes]
    groups: Sequence[str]
    holes: Sequence[Hole]
    time: str
    address: str | None


def fast_expression(syntax: Syntax) -> FastExpression:
    """The fast expression of a format."""
    builder = _Builder(syntax.escape)
    expression = builder.level(syntax.tokens)
    pattern = re.compile(b"^" + expression + rb"\n", re.MULTILINE)
    return FastExpression(pattern, builder.groups, builder.holes, builder.time, builder.address)


@dataclass
class _Builder:
    escape: Escape
    groups: list[str] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    time: str = ""
    address: str | None = None

    def level(self, tokens: Sequence[Token]) -> bytes:
        """The tokens of one level. A quote on both sides of a text is taken into its group: so it stands in JSON."""
        expression = b""
        around_each = list(surroundings(tokens, self.escape))
        for index, (token, around) in enumerate(zip(tokens, around_each, strict=True)):
            if isinstance(token, Literal):
                text = token.text
                if index and _takes_quotes(tokens[index - 1], around_each[index - 1]):
                    text = text[1:]
                if index + 1 < len(tokens) and _takes_quotes(tokens[index + 1], around_each[index + 1]):
                    text = text[:-1]
                expression += re.escape(text)
            elif isinstance(token, OptionalPart):
                expression += b"(?:" + self.level(token.tokens) + b")?"
            elif around is not None:
                expression += self._slot(token, around)
        return expression

    def _slot(self, slot: Slot, around: Surroundings) -> bytes:
        match slot.variable.kind:
            case Kind.IGNORED:
                return b"-"
            case Kind.TEXT | Kind.WORD:
                return self._text(slot, around)
            case Kind.ADDRESS:
                return self._group(slot, byte_class(SOLID - around.ends) + b"+", _IN_QUOTES, _AS_IS)
            case Kind.REQUEST:
                return self._request(slot, around)
            case Kind.TARGET:
                return self._target(slot, around)
            case Kind.EPOCH:
                return self._epoch(slot)
            case kind if kind in _REQUIRED:
                mark = b"%b" if kind is Kind.STATUS else _IN_QUOTES
                return self._group(slot, _ITEMS[kind], mark, _AS_IS if kind is Kind.STATUS else "text")
            case kind:
                item = _ITEMS.get(kind) or byte_class(SOLID - around.ends - frozenset(b",")) + b"+"
                ends = around.ends if kind is Kind.WORDS else frozenset[int]()
                value = self._absent_or(self._group(slot, item, b"%b", _CODES.get(kind, _AS_IS)), ends)
                return value + (_no_more_items(around) if kind in LISTS else b"")

    def _absent_or(self, group: bytes, ends: ByteSet) -> bytes:
        """A hyphen may be what ends the value: then it is none itself."""
        absent = b"" if ends & _HYPHEN else b"-|"
        return b"(?:" + absent + group + (b")" if self.escape is Escape.DEFAULT else b")?")

    def _group(self, slot: Slot, expression: bytes, mark: bytes, code: str) -> bytes:
        if not slot.kept:
            return b"(?:" + expression + b")"
        name = self._name()
        if slot.variable.kind is Kind.ADDRESS:
            self.address = name
        elif slot.variable.kind in TIMES:
            self.time = name
        self.holes.append(Hole(slot.variable.path, mark, code.format(name)))
        return b"(" + expression + b")"

    def _name(self) -> str:
        self.groups.append(f"group_{len(self.groups)}")
        return self.groups[-1]

    def _text(self, slot: Slot, around: Surroundings) -> bytes:
        plain = PLAIN if slot.variable.kind is Kind.TEXT else SOLID
        members = byte_class(plain - around.ends)
        if not _takes_quotes(slot, around):
            return self._absent_or(self._group(slot, members + b"+", b"%b", _QUOTED), around.ends)
        if around.ends & _HYPHEN:
            return _NEVER
        if self.escape is Escape.DEFAULT:
            return b'(?:"-"|' + self._group(slot, b'"' + members + b'*"', b"%b", _AS_IS) + b")"
        return b'(?:"-?"|' + self._group(slot, b'"' + members + b'+"', b"%b", _AS_IS) + b")"

    def _request(self, slot: Slot, around: Surroundings) -> bytes:
        """A target behind a blank that could be taken for what follows must begin with a slash."""
        start = b""
        if around.ends & _IN_REQUEST:
            return _NEVER
        if around.ends & frozenset(b" "):
            like_a_target = around.follower is None or around.follower.variable.kind not in _UNLIKE_A_TARGET
            if around.bans or (around.after == b" " and like_a_target):
                return _NEVER
            if around.after[:2] in (b" /", b" H"):
                return _NEVER
            start = b"/"
        path, query = self._path_and_query(around.ends)
        if not slot.kept:
            return _METHOD + b" " + start + path + rb"(?:\?" + query + b")? " + _PROTOCOL
        names = [self._name() for _each in range(4)]
        codes = (_AS_IS, _AS_IS, _QUOTED, _AS_IS)
        for name, code, place in zip(names, codes, (METHOD, PATH, QUERY, PROTOCOL), strict=True):
            self.holes.append(Hole(place, b"%b" if place == QUERY else _IN_QUOTES, code.format(name)))
        return b"(%b) (%b%b)(?:\\?(%b))? (%b)" % (_METHOD, start, path, query, _PROTOCOL)

    def _target(self, slot: Slot, around: Surroundings) -> bytes:
        if around.ends & _IN_TARGET:
            return _NEVER
        path, query = self._path_and_query(around.ends)
        path = b"/" + path.removesuffix(b"+") + b"*"
        if not slot.kept:
            return path + rb"(?:\?" + query + b")?"
        for place, mark, code in ((PATH, _IN_QUOTES, _AS_IS), (QUERY, b"%b", _QUOTED)):
            self.holes.append(Hole(place, mark, code.format(self._name())))
        return b"(%b)(?:\\?(%b))?" % (path, query)

    @staticmethod
    def _path_and_query(ends: ByteSet) -> tuple[bytes, bytes]:
        return byte_class(SOLID - ends - frozenset(b"?")) + b"+", byte_class(SOLID - ends) + b"*"

    def _epoch(self, slot: Slot) -> bytes:
        """Seconds and milliseconds apart: nearly every value of $msec is a new one, no cache helps."""
        if not slot.kept:
            return rb"[1-9]\d{8,9}\.\d{3}"
        self.time, fraction = self._name(), self._name()
        code = f"text if {fraction} == b'000' else b'%b.%b000Z' % (text[:-1], {fraction})"
        self.holes.append(Hole(slot.variable.path, _IN_QUOTES, code))
        return rb"([1-9]\d{8,9})\.(\d{3})"


def _no_more_items(around: Surroundings) -> bytes:
    """Behind the only item of a list: a second one is for the general expression."""
    separators = [separator for separator in SEPARATORS if around.after and separator.startswith(around.after)]
    return b"(?!" + b"|".join(separators) + b")" if separators else b""


def _takes_quotes(token: Token, around: Surroundings | None) -> bool:
    """Whether the quotes around a value are part of its group."""
    is_text = isinstance(token, Slot) and token.variable.kind in (Kind.TEXT, Kind.WORD)
    return is_text and around is not None and around.quoted
