"""The loop over a chunk, written for one format: a function with the format's groups as its variables.

Written out because it runs for every line: a loop over the groups of a match costs more than the match. The text is
made of the fixed parts below and of numbered names; nothing of a format or a line comes into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from re import Match
from typing import Any

from services.producer.parse.fast_expression import FastExpression

NULL = b"null"

_SOURCE = """
def parse_fast(matches, base, template, times, numbers, add_value, add_address, add_offset, parse_each):
    done = 0
    for match in matches:
        start, end = match.span()
        if start != done:
            parse_each(done, start)
        {groups}, = match.groups(NULL)
        text = times[{time}]
        if text is None:
            parse_each(start, end)
        else:
            add_value(template % ({values}, base + start, end - start - 1))
            add_address({address})
            add_offset(base + start)
        done = end
    return done
"""

FastLoop = Callable[
    [
        Iterator[Match[bytes]],
        int,
        bytes,
        Mapping[bytes, bytes | None],
        Mapping[bytes, bytes],
        Callable[[bytes], None],
        Callable[[bytes], None],
        Callable[[int], None],
        Callable[[int, int], None],
    ],
    int,
]
"""Adds what the matches hold, has everything between them parsed by the last argument; where the last match ends."""


def make_loop(fast: FastExpression, codes: Sequence[str], unknown_address: bytes) -> FastLoop:
    """The loop for an expression and a template that takes `codes` in this order."""
    source = _SOURCE.format(
        groups=", ".join(fast.groups),
        time=fast.time,
        values=", ".join(codes),
        address=fast.address or repr(unknown_address),
    )
    names: dict[str, Any] = {"NULL": NULL}
    exec(compile(source, "<the loop of a log format>", "exec"), names)  # noqa: S102 - see the head of this file
    loop: FastLoop = names["parse_fast"]
    return loop
