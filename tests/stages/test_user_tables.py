"""Tables as other tools write them; pyarrow stands for those tools."""

from __future__ import annotations

import datetime
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.linalg import Vectors

from spark_imgdedup.errors import ConfigError, ImgDedupError, SchemaError
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.score import ScoreFilter, score_images
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors.vector_column import HALVES, VectorColumn, mark_vectors, vector_column, widen_halves
from tests.arrow import to_arrow
from tests.spark_versions import SPARK_4, needs_spark_4

HALF_LIST = pa.list_(pa.float16())


def half_lists(*vectors):
    return pa.array([v if v is None else [None if x is None else np.float16(x) for x in v] for v in vectors], HALF_LIST)


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def opened(spark, path):
    return open_table(spark, (str(path),))


@needs_spark_4
@pytest.mark.parametrize("kind", [HALF_LIST, pa.large_list(pa.float16()), pa.list_(pa.float16(), 2)], ids=str)
def test_float16_lists_are_read_as_their_bytes_and_are_vectors(spark, tmp_path, kind):
    write(
        tmp_path / "t.parquet", id=["a", "b"], v=pa.array([np.array(v, np.float16) for v in ([1, 2], [3, 0.5])], kind)
    )

    table = opened(spark, tmp_path / "t.parquet")

    column = vector_column(table, "v", stage="cluster")
    assert table.dtypes == [("id", "string"), ("v", "array<binary>")]
    assert column == VectorColumn(HALVES)
    assert column.decode(to_arrow(table.orderBy("id"))["v"]).tolist() == [[1, 2], [3, 0.5]]


@pytest.mark.parametrize("with_arrow_schema", [True, False])
def test_uuids_are_text(spark, tmp_path, with_arrow_schema):
    ids = [uuid.UUID("123e4567-e89b-12d3-a456-426614174000"), uuid.UUID(int=7)]
    table = pa.table({"id": pa.array([one.bytes for one in ids], pa.uuid()), "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet", store_schema=with_arrow_schema)  # DuckDB stores none

    found = opened(spark, tmp_path / "t.parquet").orderBy("n").collect()

    assert [tuple(row) for row in found] == [
        ("123e4567-e89b-12d3-a456-426614174000", 1),
        ("00000000-0000-0000-0000-000000000007", 2),
    ]


@needs_spark_4
def test_the_other_columns_beside_float16_have_the_types_that_spark_gives_them(spark, tmp_path):
    columns = {
        "i8": pa.array([1], pa.int8()),
        "u8": pa.array([255], pa.uint8()),
        "u16": pa.array([65535], pa.uint16()),
        "u32": pa.array([2**32 - 1], pa.uint32()),
        "u64": pa.array([2**64 - 1], pa.uint64()),
        "text": pa.array(["x"], pa.large_string()),
        "label": pa.array(["y"]).dictionary_encode(),
        "data": pa.array([b"\x00"], pa.binary()),
        "price": pa.array([1.5], pa.float32()),
        "tags": pa.array([["t"]]),
        "flag": pa.array([True]),
    }
    write(tmp_path / "with/year=2024/t.parquet", **columns, v=half_lists([1]))
    write(tmp_path / "without/year=2024/t.parquet", **columns)

    both = [opened(spark, tmp_path / name).drop("v") for name in ("with", "without")]

    assert both[0].dtypes == both[1].dtypes
    assert both[0].collect() == both[1].collect()


@needs_spark_4
def test_a_column_that_no_schema_helps_with_is_named(spark, tmp_path):
    write(tmp_path / "t.parquet", id=["a"], score=pa.array([np.float16(1)], pa.float16()))

    with pytest.raises(SchemaError, match=r"t\.parquet: Spark cannot read column 'score' \(halffloat\)"):
        opened(spark, tmp_path / "t.parquet")


@needs_spark_4
def test_float16_lists_are_widened_where_spark_has_to_write_them(spark, tmp_path):
    write(tmp_path / "t.parquet", id=[1, 2, 3], v=half_lists([1, None, 0.5], None, []), name=["x", None, "z"])

    widened = widen_halves(opened(spark, tmp_path / "t.parquet"))

    assert widened.dtypes == [("id", "bigint"), ("v", "array<float>"), ("name", "string")]
    assert sorted(map(tuple, widened.collect())) == [(1, [1.0, None, 0.5], "x"), (2, None, None), (3, [], "z")]


def test_a_table_without_float16_is_left_as_it_is(spark):
    df = local_rows(spark, [(1, [1.0])], "id int, v array<float>")

    assert widen_halves(df) is df


def test_delta_without_delta_is_an_error_that_says_so(spark, tmp_path):
    (tmp_path / "t/_delta_log").mkdir(parents=True)

    with pytest.raises(ConfigError, match="t is a Delta table, and this Spark session cannot read Delta"):
        opened(spark, tmp_path / "t")


@pytest.mark.parametrize("form", [pytest.param("float16", marks=needs_spark_4), "Spark ML"])
def test_vectors_of_others_are_scored_and_clustered_after_that(spark, tmp_path, form):
    if form == "float16":
        write(tmp_path / "t", id=["a", "b"], v=half_lists([3, 4], None))
    else:
        rows = [("a", Vectors.dense([3.0, 4.0])), ("b", None)]
        spark.createDataFrame(rows, ["id", "v"]).write.parquet(str(tmp_path / "t"))
    first_number = ScoreFilter("first", "tests.scorers:FirstNumber")

    scored = score_images(opened(spark, tmp_path / "t"), [first_number], embedding="v")

    found = {row.id: (row.first_score, row.rejected_because) for row in scored.collect()}
    assert found == {"a": (pytest.approx(0.6), None), "b": (None, "no_embedding")}
    scored.write.parquet(str(tmp_path / "scored"))
    stored = spark.read.parquet(str(tmp_path / "scored"))
    column = vector_column(stored, "v", stage="cluster")
    assert column.decode(to_arrow(stored.where("id = 'a'"))["v"]).tolist() == [[3, 4]]


@pytest.mark.skipif(SPARK_4, reason="newer ones read it")
def test_an_older_spark_says_that_it_cannot_read_float16(spark, tmp_path):
    write(tmp_path / "t.parquet", id=["a"], v=half_lists([1, 2]))

    with pytest.raises(SchemaError, match=r"t.parquet: Spark 3.5.\d+ cannot read Parquet with float16 numbers in it"):
        opened(spark, tmp_path / "t.parquet")


def test_every_row_and_column_of_files_that_differ_is_read(spark, tmp_path, caplog):
    """Ids of two types, a column more, vectors of two widths, an untyped column, other case, another order."""
    folder = tmp_path / "odd [1]{a,b}*"
    (folder / "deep").mkdir(parents=True)
    write(folder / "0.parquet", id=["x"], v=pa.array([[1.0]], pa.list_(pa.float32())), n=pa.array([None]), URL=["u"])
    write(folder / "1.parquet", v=pa.array([[0.1]]), id=pa.array([7], pa.int32()), n=pa.array([5]), more=[True])
    write(folder / "deep/2.parquet", url=["w"], id=pa.array([2**63], pa.uint64()), n=pa.array([0.5]), v=[[2.0]])
    write(folder / "deep/000000_0", id=["hive"], v=[[3.0]])
    write(folder / "_metadata", id=["none of the table"])
    (folder / "README.md").write_text("# pictures")
    (folder / "empty.parquet").touch()
    for name in ("_own", ".hidden"):
        write(folder / name / "3.parquet", id=["of no table"])

    rows = opened(spark, folder).select("id", "v", "n", "URL", "more").collect()

    assert sorted(map(tuple, rows)) == [
        ("7", [0.1], 5.0, None, True),
        (str(2**63), [2.0], 0.5, "w", None),
        ("hive", [3.0], None, None, None),
        ("x", [1.0], None, "u", None),
    ]
    said = [record.getMessage().partition(": ")[2] for record in caplog.records if str(folder) in record.getMessage()]
    assert said == [
        "passed over 1 Parquet files of 0 bytes: empty.parquet",
        "passed over 1 files that are no Parquet: README.md",
        "passed over 2 hidden Parquet files: .hidden/3.parquet, _own/3.parquet",
    ]


def test_nanoseconds_and_times_of_day_are_read_and_the_moments_are_right(spark, tmp_path):
    before_1970 = -1_500_000_001  # nanoseconds, which are floored to microseconds
    columns = {
        "clock": pa.array([before_1970, None], pa.timestamp("ns")),
        "moment": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", "Europe/Berlin")),
        "day_us": pa.array([datetime.time(23, 59, 59, 999999), None], pa.time64("us")),
        "day_ns": pa.array([1_000_000_999, None], pa.time64("ns")),
        "day_ms": pa.array([datetime.time(1, 2, 3, 4000), None], pa.time32("ms")),
    }
    write(tmp_path / "y=1/a.parquet", id=[1, 2], **columns)
    write(tmp_path / "y=2/b.parquet", id=[3])

    table = opened(spark, tmp_path)

    assert dict(table.dtypes)["clock"] == "timestamp_ntz"
    assert dict(table.dtypes)["moment"] == "timestamp"
    as_text = table.selectExpr("id", "y", "string(clock)", "unix_micros(moment)", "day_us", "day_ns", "day_ms")
    assert [tuple(row) for row in as_text.orderBy("id").collect()] == [
        (
            *(1, 1, "1969-12-31 23:59:58.499999", 1_700_000_000_123_456),
            *("23:59:59.999999", "00:00:01.000000", "01:02:03.004000"),
        ),
        (2, 1, None, None, None, None, None),
        (3, 2, None, None, None, None, None),
    ]


def test_what_cannot_be_read_is_one_line_that_names_file_and_column(spark, tmp_path):
    write(tmp_path / "twins/0.parquet", id=["a"], ID=["b"])
    write(tmp_path / "nested/0.parquet", id=["a"], s=[{"u": 1, "U": 2}])
    write(tmp_path / "types/0.parquet", id=["a"], when=["today"])
    write(tmp_path / "types/1.parquet", id=["b"], when=[datetime.date(2024, 1, 1)])
    for kind in ("float16", "float32"):
        marked = mark_vectors(local_rows(spark, [(b"1234",)], "v binary"), "v", VectorColumn(kind))
        marked.coalesce(1).write.parquet(str(tmp_path / "marks" / kind))
    write(tmp_path / "inside/0.parquet", id=["a"], times=pa.array([[1]], pa.list_(pa.timestamp("ns"))))
    write(tmp_path / "cut/0.parquet", id=["a"])
    (tmp_path / "cut/1.parquet").write_bytes((tmp_path / "cut/0.parquet").read_bytes()[:-5])
    (tmp_path / "page.parquet").write_text("<html>404")
    (tmp_path / "nothing.parquet").touch()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/README.md").write_text("# no table")
    expected = {
        "twins": r"twins/0\.parquet: columns 'id' and 'ID' have one name to Spark",
        "nested": r"nested/0\.parquet: columns 's\.u' and 's\.U' have one name",
        "types": r"column 'when' is string in \S+types/0\.parquet and date in \S+types/1\.parquet, which have nothing",
        "marks": r"column 'v' is binary float16 in \S+ and binary float32 in \S+, which have nothing in common",
        "inside": r"inside/0\.parquet: Spark cannot read column 'times'",
        "cut": r"cut/1\.parquet: this file cannot be read as Parquet",
        "page.parquet": r"page\.parquet: this file cannot be read as Parquet",
        "nothing.parquet": r"nothing\.parquet is empty \(0 bytes\)",
        "texts": r"texts: no Parquet file there, but README\.md",
    }

    for name, message in expected.items():
        with pytest.raises(ImgDedupError, match=message) as caught:
            opened(spark, tmp_path / name)
        assert "\n" not in str(caught.value)
