"""Pydantic's report of wrong settings in words that name the key and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError


def explain(error: ValidationError, keys: Sequence[str]) -> Iterator[str]:
    """Each mistake once: its key, what is wrong, and the value unless it may be a secret.

    Args:
        error: What pydantic found.
        keys: Every key there is, with dots.
    """
    known = {part for key in keys for part in key.split(".")}
    explained: set[str] = set()
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            yield explain_unknown(".".join(str(part) for part in problem["loc"]), keys)
            continue
        if not problem["loc"] and problem["type"] == "value_error":  # sections that disagree: the words name the keys
            yield from problem["msg"].removeprefix("Value error, ").splitlines()
            continue
        name = ".".join(str(part) for part in problem["loc"] if part in known)
        if name in explained:  # a union reports once for each of its members
            continue
        explained.add(name)
        words = [
            other["ctx"]["expected"]
            for other in error.errors()
            if other["type"] == "literal_error" and other["loc"][: name.count(".") + 1] == tuple(name.split("."))
        ]
        alternative = f" or {words[0]}" if words and problem["type"] != "literal_error" else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error" and name not in keys:  # of a section as a whole
            yield f"{name}: {message}."
            continue
        yield f"{name}: {message}{alternative}, got {_shown(name, problem['input'], keys)}."


def explain_unknown(name: str, keys: Sequence[str]) -> str:
    """The key of that last part in another section; else the nearest in spelling, of whole keys and of last parts."""
    last = name.rpartition(".")[2]
    nearest = [key for key in keys if key.rpartition(".")[2] == last] or _nearest(name, keys)
    hint = f"Did you mean {' or '.join(map(repr, nearest))}?" if nearest else "`spark-imgdedup config` lists all keys."
    return f"unknown key '{name}'. {hint}"


def _nearest(name: str, keys: Sequence[str]) -> list[str]:
    sections = dict.fromkeys(key.partition(".")[0] for key in keys)
    ends: dict[str, list[str]] = {}
    for key in keys:
        ends.setdefault(key.rpartition(".")[2], []).append(key)
    found = difflib.get_close_matches(name, dict.fromkeys([*keys, *sections]), n=1, cutoff=0.5)
    # Last parts are short: a third of their letters may be wrong, not half.
    closer = difflib.get_close_matches(name, ends, n=1, cutoff=0.6)
    if not closer:
        return found
    both = [*found, *closer]
    best = difflib.get_close_matches(name, both, n=1, cutoff=0)[0]
    return [best] if best in found else ends[best]


def _shown(name: str, value: Any, keys: Sequence[str]) -> str:
    """The value as an error may show it: a section, or what is near a secret, by its type only."""
    is_open = name in keys and name != "spark" and not name.endswith("storage_options")
    return repr(value) if is_open else type(value).__name__
