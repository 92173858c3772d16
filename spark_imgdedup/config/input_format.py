"""What `input.format: auto` stands for: the kind of the files that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.formats import IMAGE_SUFFIXES, TABLE_SUFFIXES, TAR_SUFFIXES

if TYPE_CHECKING:
    from spark_imgdedup.config.sections import InputFormat

_KINDS = {"tars": TAR_SUFFIXES, "images": tuple(IMAGE_SUFFIXES), "table": TABLE_SUFFIXES}
_FORMATS: dict[str, InputFormat] = {"tars": "webdataset", "images": "images", "table": "table"}
# Suffixes of a kind that an error counts one by one.
_MOST_SUFFIXES = 4


def find_format(paths: Sequence[str], options: Mapping[str, Any]) -> InputFormat | None:
    """The one format of the files below some paths; None where there are none. A Delta table is one, whatever it holds.

    Raises:
        ConfigError: there are files of several formats, or a folder cannot be listed.
    """
    from spark_imgdedup.files.kinds import count_kinds  # fsspec: not for --help

    found = {kind: counts for kind, counts in count_kinds(paths, _KINDS, options).items() if counts}
    if "Delta log" in found.get("table", ()):
        return "table"
    if len(found) > 1:
        words = " and ".join(_in_words(counts) for counts in found.values())
        formats = " or ".join(_FORMATS[kind] for kind in found)
        raise ConfigError(
            f"input.path: {', '.join(paths)}: found {words}, of which one kind alone is read. Set input.format to "
            f"{formats}, or name a folder that holds one kind."
        )
    return next((_FORMATS[kind] for kind in found), None)


def _in_words(counts: Counter[str]) -> str:
    shown = counts.most_common(_MOST_SUFFIXES)
    more = counts.total() - sum(n for _, n in shown)
    return ", ".join(f"{n:,} .{suffix}" for suffix, n in shown) + (f", {more:,} others like them" if more else "")
