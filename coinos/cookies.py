"""Reads quoted cookies in one pass, on Pythons whose own way takes quadratic time (CVE-2024-7592).

Whoever sends a cookie of backslashes would have a thread of ours for minutes.
"""

from __future__ import annotations

import re
from http import cookies

_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)


def unquote(text: str) -> str:
    """The value of a cookie: without its quotes, octal and other escapes undone."""
    if text is None or len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], text[1:-1])


def read_in_one_pass() -> None:
    """From here on Django, which uses the standard library's function, reads cookies so."""
    setattr(cookies, "_unquote", unquote)  # noqa: B010 – no public name
