"""Two runs compared: tables as rows, arrays and tars as bytes."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

TABLES = ("embeddings", "clusters", "similarities", "duplicates", "removed", "kept")


def rows_of(out, table):
    """The rows of a table, in an order of their own."""
    read = pq.read_table(out / "work" / table)
    names = [name for name in read.column_names if name != "temporary"]  # a name of each attempt's own
    return sorted(read.select(names).to_pylist(), key=repr)


def tars_of(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted((out / "tars").rglob("*.tar"))}


def assert_same_result(ours, theirs):
    for table in TABLES:
        assert rows_of(ours, table) == rows_of(theirs, table), table
    assert (ours / "work/centroids/array.npy").read_bytes() == (theirs / "work/centroids/array.npy").read_bytes()
    assert tars_of(ours) == tars_of(theirs)


def events_of(folder):
    """The event log of the one application that wrote to the folder."""
    (log,) = folder.iterdir()
    return [json.loads(line) for line in log.read_text().splitlines()]
