"""What one check found."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_imgdedup.errors import ImgDedupError

MAX_CHARACTERS = 400


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Attributes:
        name: The thing: a library, a setting.
        is_ok: It is there and can be used.
        found: Its version or contents, or what went wrong.
        why: What it is for.
        remedy: How to get it.
        is_needed: The configuration cannot do without it.
    """

    name: str
    is_ok: bool
    found: str
    why: str
    remedy: str
    is_needed: bool


def in_one_line(error: Exception) -> str:
    """What an error says; of a traceback that came back from a worker, its last line."""
    if isinstance(error, ImgDedupError):
        return str(error)
    last = re.findall(r"^[\w.]*(?:Error|Exception): .+$", str(error), re.MULTILINE)
    first = (str(error).splitlines() or [""])[0]
    return (last[-1] if last else f"{type(error).__name__}: {first}")[:MAX_CHARACTERS]
