"""Of which kind the files below some paths are: found out from their names alone."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from spark_imgdedup.files import storage
from spark_imgdedup.files.walk import is_hidden

# Below a Delta table.
_DELTA_LOG = "_delta_log/"


def count_kinds(
    paths: Sequence[str], kinds: Mapping[str, Collection[str]], options: storage.Options | None = None
) -> dict[str, Counter[str]]:
    """How many files of each kind lie below folders, files and patterns, by suffix; hidden ones do not count.

    A table's file of the same name as a tar beside it is what img2dataset leaves there, and says nothing of the kind.

    Args:
        paths: As `input.path` names them.
        kinds: By kind its suffixes, in small letters and without the first dot; "tars" and "table" among them.
        options: Storage options.

    Raises:
        ConfigError: a folder cannot be listed.
    """
    found: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    suffixes = {f".{suffix}": (kind, suffix) for kind, of_kind in kinds.items() for suffix in of_kind}
    longest_first = sorted(suffixes, key=len, reverse=True)
    tars, beside = set[str](), dict[str, str]()
    for path in paths:
        for file, below, _ in storage.find_files(path, options):
            if below.startswith(_DELTA_LOG):
                found["table"]["Delta log"] += 1
            if is_hidden(below or posixpath.basename(file.url)):
                continue
            ending = next((ending for ending in longest_first if file.url.lower().endswith(ending)), None)
            if ending is None:
                continue
            kind, suffix = suffixes[ending]
            stem = file.url[: -len(ending)]
            if kind == "tars":
                tars.add(stem)
            if kind == "table":
                beside[stem] = suffix
            else:
                found[kind][suffix] += 1
    found["table"].update(suffix for stem, suffix in beside.items() if stem not in tars)
    return found
