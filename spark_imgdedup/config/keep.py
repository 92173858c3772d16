"""Which of several images stays, in words: `aesthetic_score desc, pixels desc, bytes desc`."""

from __future__ import annotations

import re

# A column, and whether its smallest value ranks first.
RankedBy = tuple[str, bool]

# More pixels, then more bytes, then colour before grey; ids decide what is equal in all of these.
BEST: tuple[RankedBy, ...] = (("pixels", False), ("image_bytes", False), ("is_grey", True))
# What people call columns of ours.
_CALLED = {"bytes": "image_bytes"}
_KEY = re.compile(r"(?P<name>\S+)(?:\s+(?P<way>asc|desc))?", re.IGNORECASE)


def parse_keep(words: str) -> tuple[RankedBy, ...]:
    """The columns that `words` rank by, each with whether it ascends; asc where nothing is said, as in SQL.

    Raises:
        ValueError: a part is not a column with asc or desc.
    """
    keys: list[RankedBy] = []
    for part in words.split(","):
        found = _KEY.fullmatch(part.strip())
        if found is None:
            raise ValueError(
                f"takes columns, each with asc or desc, such as 'pixels desc, bytes desc'; found '{part.strip()}'"
            )
        keys.append((_CALLED.get(found["name"], found["name"]), (found["way"] or "asc").lower() == "asc"))
    return tuple(keys)
