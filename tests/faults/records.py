"""What a work_dir holds: records of steps and what they are of, parts of tables, the marker, the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.owning import work_dir
from spark_imgdedup.files.parts.part_files import (
    PartForm,
    keep_only,
    list_parts,
    missing_parts,
    open_round,
    write_part,
)
from spark_imgdedup.files.parts.plan import Source
from tests.faults.places import Place, Protocol

OLD, NEW = b"before\n" * 300, b"after\n" * 500
# Of tables in parts: the rows of each source. One has changed, one has gone, one is new.
PARTS = {"before": {"a": 1, "b": 1, "c": 1}, "after": {"a": 1, "b": 2, "d": 1}}
SCHEMA = pa.schema([("shard", pa.string()), ("number", pa.int64())])
FORM = PartForm("settings", SCHEMA, json.dumps({"type": "struct", "fields": []}), "shard")


def _prepare_work(place: Place) -> None:
    work_dir.claim(place.config(), ["embed", "cluster"])
    _write_step(place, "before", np.zeros((40, 8), np.float32))
    place.write("work/config.yaml", OLD)


def _write_step(place: Place, version: str, array: npt.NDArray[np.float32]) -> None:
    """What a step leaves: an array, a table as Spark writes it (whole, but nothing waits for the disk), a record."""
    tables = place.tables()
    tables.write_array("centroids", array, {})
    table = place.below(f"work/clusters/part-{version}.parquet")
    storage.delete(place.below("work/clusters"), place.options)
    with writing.open_write(table, place.options) as file:
        file.write(version.encode() * 2000)
    place.finish(version)


def _write_record(place: Place) -> None:
    """A step begins (its record goes), and ends."""
    work_dir.claim(place.config(), ["cluster"])
    _write_step(place, "after", np.ones((40, 8), np.float32))


def _look_at_record(place: Place) -> None:
    if not (version := place.version()):
        return
    found = artifacts.load(artifacts.find(place.below("work/centroids"), place.options))
    assert found.mean() == (1 if version == "after" else 0), "a record of an array that is not there"
    is_whole = place.read(f"work/clusters/part-{version}.parquet") == version.encode() * 2000
    assert is_whole, "a record of a table that is cut"


def _claim(place: Place) -> None:
    work_dir.claim(place.config(), ["embed", "cluster", "pairwise"])


def _look_at_claim(place: Place) -> None:
    work_dir.require_ours(place.config(), ["embed", "cluster"])


def _write_settings(place: Place) -> None:
    _claim(place)
    place.write("work/config.yaml", NEW)


def _look_at_settings(place: Place) -> None:
    assert place.read("work/config.yaml") in (OLD, NEW)


def _write_parts(place: Place, version: str) -> None:
    """A table of a part for each source, as tasks write it; those that are right are left."""
    work_dir.claim(place.config(), ["cluster"])
    folder = place.below("work/clusters")
    writing.forget(place.below("work/_steps/cluster.json"), place.options)
    wanted = {FORM.name([source.digest]): source for source in _sources(version)}
    there = {part.name for part in list_parts(folder, FORM.key, place.options)}
    now = open_round(folder, FORM, dict(place.options))
    for name, source in wanted.items():
        if name not in there:
            write_part(now, [source.digest], [_rows(source)])
    keep_only(folder, wanted.keys(), place.options)
    assert not missing_parts(folder, wanted, place.options)
    place.finish(version)


def _sources(version: str) -> list[Source]:
    return [Source(name, 1, str(stamp)) for name, stamp in PARTS[version].items()]


def _rows(source: Source) -> pa.RecordBatch:
    numbers = list(range(500 * int(source.stamp)))
    return pa.RecordBatch.from_pydict({"shard": [source.name] * len(numbers), "number": numbers}, SCHEMA)


def _look_at_parts(place: Place) -> None:
    """Where the table is recorded, it has the rows of its sources and no others."""
    if not (version := place.version()):
        return
    found: dict[str, int] = {}
    for file in storage.list_files(place.below("work/clusters"), ".parquet", place.options):
        with storage.open_random(file.url, place.options) as stream:
            for shard in pq.read_table(stream)["shard"].to_pylist():
                found[shard] = found.get(shard, 0) + 1
    wanted: Mapping[str, int] = {name: 500 * stamp for name, stamp in PARTS[version].items()}
    assert found == wanted


RECORD = Protocol("record", _prepare_work, _write_record, _look_at_record)
PART = Protocol(
    "parts", lambda place: _write_parts(place, "before"), lambda place: _write_parts(place, "after"), _look_at_parts
)
CLAIM = Protocol("claim", _prepare_work, _claim, _look_at_claim)
SETTINGS = Protocol("settings", _prepare_work, _write_settings, _look_at_settings)
