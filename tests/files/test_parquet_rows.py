"""A Parquet file without some of its rows; pyarrow stands for the tools that wrote it."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.copying import parquet_rows
from spark_imgdedup.files.copying.parquet_rows import copy_rows

FEATURES = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5)


def of_many_types(n):
    """Columns that Spark cannot read, that it would write otherwise, and with names that it would not take."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([{"bytes": bytes([i]) * 50, "path": f"{i}.jpg"} for i in range(n)], image),
        "Image": pa.array([f"{i}" for i in range(n)]),
        'a.b `c` "d" 日é': pa.array(range(n), pa.uint16()),
        "half": pa.array([[np.float16(i)] for i in range(n)], pa.list_(pa.float16())),
        "uuid": pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.uuid()),
        "when": pa.array([MOMENT] * n, pa.timestamp("ns", tz="UTC")),
        "time": pa.array([datetime.time(1, 2, 3)] * n, pa.time64("ns")),
        "decimal": pa.array([decimal.Decimal("1.50")] * n, pa.decimal128(9, 2)),
        "kind": pa.array(["x", None] * (n // 2)).dictionary_encode(),
        "large": pa.array(["y"] * n, pa.large_string()),
        "map": pa.array([[("k", i)] for i in range(n)], pa.map_(pa.string(), pa.int32())),
        "nothing": pa.nulls(n),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": FEATURES, "mine": "é"})


@pytest.mark.parametrize("gone", [[], [0], [9], [3, 4, 5], [7, 0, 9], range(10)], ids=str)
def test_rows_of_any_type_stay_as_they_are_without_those_that_leave(tmp_path, gone):
    table = of_many_types(10)
    source, target = f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet"
    pq.write_table(table, source, row_group_size=4, compression={"kind": "NONE", "large": "ZSTD"})

    written = copy_rows(source, target, gone)

    kept = [place for place in range(10) if place not in gone]
    found = pq.read_table(target)
    assert found.schema.equals(pq.read_table(source).schema, check_metadata=True)
    assert found.equals(table.take(pa.array(kept, pa.int64())))
    assert written.n_rows == len(kept)
    assert written.n_bytes == (tmp_path / "out.parquet").stat().st_size
    assert pq.read_metadata(target).schema.equals(pq.read_metadata(source).schema)


def test_row_groups_and_codecs_are_those_of_the_input(tmp_path):
    source, target = f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet"
    pq.write_table(of_many_types(10), source, row_group_size=4, compression={"large": "GZIP", "map": "NONE"})

    copy_rows(source, target, [0, 4, 5, 6, 7])

    before, after = pq.read_metadata(source), pq.read_metadata(target)
    assert [after.row_group(n).num_rows for n in range(after.num_row_groups)] == [3, 2]  # of 4, 4, 2
    chunks = ([about.row_group(0).column(n) for n in range(about.num_columns)] for about in (before, after))
    codecs = [{chunk.path_in_schema: chunk.compression for chunk in each} for each in chunks]
    assert codecs[0] == codecs[1]
    assert len(set(codecs[0].values())) > 1


def test_a_row_group_that_is_too_large_for_memory_becomes_several(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "MOST_BYTES", 4_000)
    monkeypatch.setattr(parquet_rows, "_BATCH_BYTES", 1_000)
    data = [np.random.default_rng(n).bytes(500) for n in range(40)]
    pq.write_table(pa.table({"image": data}), tmp_path / "in.parquet")

    copy_rows(f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet", [39])

    about = pq.read_metadata(tmp_path / "out.parquet")
    assert 4 <= about.num_row_groups <= 6
    assert pq.read_table(tmp_path / "out.parquet")["image"].to_pylist() == data[:39]


def test_moments_and_schemas_stay_as_spark_wrote_them(tmp_path):
    table = pa.table({"when": pa.array([MOMENT] * 3, pa.timestamp("ns"))})
    source, target = f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet"
    pq.write_table(table, source, use_deprecated_int96_timestamps=True, store_schema=False)

    copy_rows(source, target, [1])

    about = pq.read_metadata(target)
    assert about.schema.column(0).physical_type == "INT96"
    assert about.metadata is None
    assert pq.read_table(target)["when"].to_pylist() == table["when"].to_pylist()[:2]


def test_a_file_that_has_fewer_rows_by_now_is_an_error_and_leaves_nothing(tmp_path):
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "in.parquet")

    for gone in ([2], [-1]):
        with pytest.raises(SchemaError, match=r"the file has 2 rows\. It has changed"):
            copy_rows(f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet", gone)

    assert not (tmp_path / "out.parquet").exists()
