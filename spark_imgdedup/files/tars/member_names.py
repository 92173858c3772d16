"""Names of bytes that are no text, as text that a table can hold, and back. No Spark."""

from __future__ import annotations

import re

# A byte that is not UTF-8 is a lone surrogate for Python, and is written as its escape: \udce9. Backslashes before one,
# and before what is spelled like an escape, are doubled; all others stay, and so do most names.
_UNSAFE = re.compile(r"\\+(?=[\ud800-\udfff]|ud[89a-f][0-9a-f]{2})")
_ESCAPED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")


def escaped(name: str) -> str:
    """A name as text: two names never become one, see `unescaped`."""
    if name.isascii() and "\\" not in name:  # as nearly all are, and every member of a tar is asked
        return name
    return _UNSAFE.sub(lambda found: 2 * found[0], name).encode("utf-8", "backslashreplace").decode()


def unescaped(text: str) -> str:
    """The name that `escaped` made a text of."""

    def name(found: re.Match[str]) -> str:
        backslashes, code = found[1], found[2]
        half = len(backslashes) // 2 * "\\"
        return half + (chr(int(code[1:], 16)) if len(backslashes) % 2 else code)

    return _ESCAPED.sub(name, text)
