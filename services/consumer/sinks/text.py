"""A value as one line of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shared.schemas.terminal import escape_terminal_controls

# Line breaks stand only between the tokens of valid JSON, where a blank means the same.
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def one_line(value: bytes) -> bytes:
    """The same valid JSON without line breaks; values of our own producer are returned as they are."""
    return value.translate(_BREAKS) if b"\n" in value or b"\r" in value else value


def printable(value: bytes) -> bytes:
    """The same valid JSON in one line that cannot steer a terminal."""
    plain = value.isascii() and b"\x7f" not in value
    return one_line(value if plain else escape_terminal_controls(value))


def join_lines(values: Iterable[bytes]) -> bytes:
    """One value a line, each with its newline."""
    return b"".join([one_line(value) + b"\n" for value in values])
