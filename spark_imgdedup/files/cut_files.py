"""Files that a power loss has cut off: empty, or without their end. No Spark.

Only local files are looked at: a store shows a file whole or not at all. What is damaged elsewhere than at its end is
found by who reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import numpy as np

from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.walk import is_local

# The last bytes of a whole file. Sources: the format of Parquet files; of Arrow's IPC streams, "end-of-stream".
_PARQUET_END, _ARROW_END = b"PAR1", b"\xff\xff\xff\xff\x00\x00\x00\x00"


def find_cut(folder: str, options: storage.Options | None = None) -> str | None:
    """The first file below a local folder that is cut off; None where all are whole, or lie on a store.

    Parquet, .arrow, .npy and .json files are looked at, 20 us each where they were read before. What Spark has not
    committed, in folders that begin with "_" or ".", is not.
    """
    fs, path = filesystem(folder, options)
    if not is_local(fs):
        return None
    return next((file for file in _below(path) if not _is_whole(file)), None)


def _below(folder: str) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            yield from _below(entry.path)
        else:
            yield entry.path


def _is_whole(path: str) -> bool:
    look = _LOOKS.get(os.path.splitext(path)[1])
    try:
        return look is None or look(path)
    except FileNotFoundError:  # it went away meanwhile
        return True


def _ends(path: str, end: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size <= 2 * len(end):  # a Parquet file begins as it ends
            return False
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end


def _holds_json(path: str) -> bool:
    with open(path, "rb") as file:
        try:
            return json.load(file) is not None
        except (ValueError, RecursionError):
            return False


def _holds_array(path: str) -> bool:
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        return os.path.getsize(path) > 0 and _is_empty_array(path)
    return True


def _is_empty_array(path: str) -> bool:
    """True of an array without numbers, which cannot be mapped."""
    try:
        return int(np.load(path, allow_pickle=False).size) == 0
    except (ValueError, EOFError):
        return False


_LOOKS: dict[str, Callable[[str], bool]] = {
    ".parquet": lambda path: _ends(path, _PARQUET_END),
    ".arrow": lambda path: _ends(path, _ARROW_END),
    ".npy": _holds_array,
    ".json": _holds_json,
}
