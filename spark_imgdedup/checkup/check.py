"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass

from spark_imgdedup.errors import shown


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", shown(self.found))
