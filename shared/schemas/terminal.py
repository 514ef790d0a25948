"""Text that a client chose must not steer the terminal of whoever reads the log.

JSON escapes the control characters below 0x20 only. DEL, the C1 controls (U+0080-U+009F, among them CSI), the Unicode
line separators and the marks that reorder text are legal in a JSON string; here they become `\\uXXXX`, which is the
same JSON value.
"""

from __future__ import annotations

import re

# In UTF-8: U+007F | U+0080-9F | U+200B-200F, 2028-202E | U+2060-2069 | U+FEFF
_STEERING = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf",
)


def escape_terminal_controls(json_text: bytes) -> bytes:
    """Return the same JSON value, without characters that steer a terminal. `json_text` is valid JSON in UTF-8."""
    return _STEERING.sub(_as_json_escape, json_text)


def _as_json_escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())
