r"""nginx's escaping, undone, for each `escape=` of its `log_format`.

With `escape=default` nginx writes `"`, `\` and every byte outside printable ASCII as `\xHH` (ngx_http_log_module).
Apache's httpd writes `\"`, `\\`, `\n`, `\t` … besides (mod_log_config); nginx never does, so both are understood. With
`escape=json` it writes the escapes of JSON and leaves bytes from 0x7f up as they are; with `none` it changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from services.producer.parse.syntax import Escape

_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\bnrtv]))')
_LETTERS = {b'"': b'"', b"\\": b"\\", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unescape(raw: bytes) -> bytes:
    """The bytes that the client sent. A backslash that starts no known escape stays as it is."""
    return _ESCAPE.sub(_replace, raw) if b"\\" in raw else raw


def _replace(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    return bytes((int(digits, 16),)) if digits else _LETTERS[match[2]]


_JSON_ESCAPE = re.compile(rb'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_JSON_LETTERS = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def unescape_json(raw: bytes) -> bytes:
    """The same for `escape=json`."""
    return _JSON_ESCAPE.sub(_replace_json, raw) if b"\\" in raw else raw


def _replace_json(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    # Half of a surrogate pair stays what it is: nginx writes no such escape.
    return chr(int(digits, 16)).encode(errors="surrogatepass") if digits else _JSON_LETTERS[match[2]]


def unchanged(raw: bytes) -> bytes:
    """The same for `escape=none`."""
    return raw


UNESCAPE: Mapping[Escape, Callable[[bytes], bytes]] = {
    Escape.DEFAULT: unescape,
    Escape.JSON: unescape_json,
    Escape.NONE: unchanged,
}


def decode(sent: bytes) -> tuple[str, bool]:
    r"""Text for the bytes that the client sent, and whether it had to be escaped.

    Bytes that are no UTF-8 appear as `\xhh` and then every backslash of the value as `\x5C`, so that `restore` gives
    the bytes back.
    """
    try:
        return sent.decode(), False
    except UnicodeDecodeError:
        return sent.replace(b"\\", rb"\x5C").decode(errors="backslashreplace"), True


def restore(text: str, escaped: bool) -> bytes:
    """The inverse of `decode`."""
    encoded = text.encode()
    return unescape(encoded) if escaped else encoded
