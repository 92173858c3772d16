"""Two runs held together: tables as rows, everything else that a run leaves as bytes, and the names of all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# Made on the way, in files that are no tables: what they lead to is compared.
ON_THE_WAY = {"blocks", "groups", "links", "probes", "_steps", "report"}
# What differs from attempt to attempt: names of Spark's and of ours, and how rows are divided into files.
_VARYING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,}|(?<=part-)\d+|\b\d{5,6}(?=\.parquet)")
_UNFINISHED = re.compile(r"\.tmp$|(?:^|/)_temporary|\.lease|\.lock|\.inprogress|\.COPYING")


@dataclass(frozen=True)
class Result:
    """What a run has left below a folder with work/ and out/."""

    tables: Mapping[str, list[str]]
    files: Mapping[str, bytes]
    names: frozenset[str]
    summary: Mapping[str, Any]


def result_of(place: Path) -> Result:
    """Read it all."""
    folders = sorted(path for path in (place / "work").iterdir() if path.is_dir() and path.name not in ON_THE_WAY)
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    names = [path.relative_to(place).as_posix() for path in paths]
    files = {
        name: path.read_bytes()
        for name, path in zip(names, paths, strict=True)
        if name.startswith("out/") or name.endswith(".npy")
    }
    return Result(
        {folder.name: _rows(folder) for folder in folders if any(folder.glob("*.parquet"))},
        {name: _without_place(data, place) if name.endswith(".json") else data for name, data in files.items()},
        frozenset(_VARYING.sub("*", name) for name in names),
        _summary(place / "work/report/report.json"),
    )


def _rows(folder: Path) -> list[str]:
    """Rows in an order of their own, without the names that tars had before they were published."""
    read = pq.read_table(folder)
    return sorted(map(repr, read.select([name for name in read.column_names if name != "temporary"]).to_pylist()))


def _without_place(data: bytes, place: Path) -> bytes:
    return data.replace(str(place).encode(), b"")


def _summary(path: Path) -> Mapping[str, Any]:
    found = json.loads(path.read_text())["summary"]
    return {name: value for name, value in found.items() if name not in ("seconds", "output")}


def differences(found: Result, wanted: Result) -> tuple[list[str], int]:
    """What is not as it should be, in words, and how many bytes of files are lost."""
    said = [f"left over: {name}" for name in sorted(found.names) if _UNFINISHED.search(name)]
    said += [f"more: {name}" for name in sorted(found.names - wanted.names) if not _UNFINISHED.search(name)]
    said += [f"missing: {name}" for name in sorted(wanted.names - found.names)]
    for name in sorted({*found.tables, *wanted.tables}):
        ours, theirs = set(found.tables.get(name, ())), set(wanted.tables.get(name, ()))
        if found.tables.get(name) != wanted.tables.get(name):
            n_ours, n_theirs = len(found.tables.get(name, ())), len(wanted.tables.get(name, ()))
            said.append(
                f"table {name}: {n_ours} rows, not {n_theirs}; {len(theirs - ours)} missing, {len(ours - theirs)} more"
            )
    lost = [name for name in sorted(wanted.files) if found.files.get(name) != wanted.files[name]]
    said += [f"file {name} is another" for name in lost]
    said += [
        f"report.json: {name} is {found.summary.get(name)!r}, not {value!r}"
        for name, value in wanted.summary.items()
        if found.summary.get(name) != value
    ]
    return said, sum(len(wanted.files[name]) for name in lost)
