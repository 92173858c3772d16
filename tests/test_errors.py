"""What may reach a terminal."""

from __future__ import annotations

import pytest

from spark_imgdedup.errors import printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a/0001.jpg", "a/0001.jpg"),
        ("größe 図 \u3000\xa0", "größe 図 \u3000\xa0"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b31m", "\\x9b31m"),  # an escape sequence in one character
        ("exe\u202egpj.", "exe\\u202egpj."),
        ("\u2028\udcff\x7f\x00", "\\u2028\\udcff\\x7f\\x00"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_all_else_stays(text: str, seen: str) -> None:
    assert printable(text) == seen
    seen.encode()  # a terminal or log in UTF-8 takes it
