"""Vectors straight from their files: the rows that Spark reads there, or Spark's own way where that is not sure."""

from __future__ import annotations

import datetime
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.detect import collapse_copies
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors import vector_parts
from spark_imgdedup.stages.vectors import vector_source as module
from spark_imgdedup.stages.vectors.collapsed import Marks, mark_copies
from spark_imgdedup.stages.vectors.vector_files import FileSource, file_source
from spark_imgdedup.stages.vectors.vector_parts import Part, Rows, read_part
from spark_imgdedup.stages.vectors.vector_source import vector_source
from tests.spark_versions import needs_spark_4

DIM = 4
VECTORS = np.arange(40, dtype=np.float32).reshape(10, DIM) / 8
IDS = [f"row {number}" for number in range(10)]


def settings(path, *kept, id_field="id"):
    cluster = {"embeddings_path": str(path), "metadata_columns": list(kept), "id_field": id_field}
    return parse_config({"cluster": cluster})


def source_of(spark, path, *kept, **options):
    config = settings(path, *kept, **options)
    return file_source(open_table(spark, (str(path),)), str(path), config)


def rows_of(source):
    """The batches as tasks get them, as (id, vector, kept columns)."""
    column = source.column

    def work(batches):
        for batch in batches:
            vectors = [None if vector is None else str(vector) for vector in _vectors(batch.column(1), column)]
            kept = [str(row) for row in zip(*(each.to_pylist() for each in batch.columns[2:]), strict=True)]
            kept = kept or [""] * batch.num_rows
            ids = [str(id_) for id_ in batch.column(0).to_pylist()]
            yield pa.RecordBatch.from_arrays(
                [pa.array(ids), pa.array(vectors, pa.string()), pa.array(kept)], ["i", "v", "k"]
            )

    return Counter(map(tuple, source.map(work, "i string, v string, k string").collect()))


def _vectors(array, column):
    for place in range(len(array)):
        one = array.slice(place, 1)
        yield column.decode(one)[0].tolist() if one[0].is_valid and one[0].as_py() else None


def write(folder, table, name="0.parquet", **options):
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name, **options)


def table_of(kind, vectors=VECTORS, ids=None, **columns):
    lists = pa.array([None if row is None else [x if x is None else float(x) for x in row] for row in vectors], kind)
    return pa.table({"id": IDS[: len(lists)] if ids is None else ids, "embedding": lists, **columns})


FORMS = {
    "list<float>": pa.list_(pa.float32()),
    "list<double>": pa.list_(pa.float64()),
    "large_list<float>": pa.large_list(pa.float32()),
    "list<float16>": pa.list_(pa.float16()),
}


@pytest.mark.parametrize("form", [pytest.param(name, marks=needs_spark_4 if "16" in name else ()) for name in FORMS])
def test_files_give_the_rows_that_spark_gives(spark, tmp_path, form):
    folder = tmp_path / "vectors"
    size = pa.array([None, *range(9)], pa.int32())
    write(folder, table_of(FORMS[form], size=size, name=pa.array(IDS)), row_group_size=3)
    write(
        folder,
        table_of(FORMS[form], VECTORS + 5, ids=[f"other {n}" for n in range(10)], size=size, name=pa.array(IDS)),
        "1.parquet",
    )
    source = source_of(spark, folder, "name", "size")

    assert isinstance(source, FileSource)
    through_spark = module.VectorSource(source.rows, source.column, source.id_type, source.fields, source.config)
    assert rows_of(source) == rows_of(through_spark)
    assert source.known == source.widths() == through_spark.widths() == {DIM: 20}
    assert [(part.row_group, part.first_row) for task in source.parts for part in task] == [
        *((0, 0), (1, 3), (2, 6), (3, 9)),
        (0, 0),
    ]


def test_a_null_vector_and_one_of_another_length_are_rows_too(spark, tmp_path):
    folder = tmp_path / "vectors"
    write(folder, table_of(FORMS["list<float>"], [[1.0, 2.0], None, [1.0], [], [3.0, None]]))
    source = source_of(spark, folder)

    assert isinstance(source, FileSource)
    assert source.known is None
    assert source.widths() == {2: 2, 1: 1}
    batches = rows_of(source)
    assert batches.total() == 5
    assert sum(n for (_, vector, _), n in batches.items() if vector is None) == 2


def test_vectors_of_the_users_own_are_all_measured_where_filters_have_marked_some(spark, tmp_path):
    folder = tmp_path / "vectors"
    marks = pa.array([None, None, "nsfw", None], pa.string())
    vectors = [[1.0], [1.0, 2.0], [1.0], [3.0, 4.0]]
    write(folder, table_of(FORMS["list<float>"], vectors, rejected_because=marks))

    assert source_of(spark, folder).widths() == {1: 1, 2: 2}


def test_columns_may_come_in_any_order_and_beside_others(spark, tmp_path):
    folder = tmp_path / "vectors"
    plain = table_of(FORMS["list<float>"])
    write(folder, plain.select(["embedding", "id"]).append_column("more", pa.array(range(10))))
    source = source_of(spark, folder)

    assert isinstance(source, FileSource)
    assert sorted(id_ for id_, *_ in rows_of(source)) == sorted(IDS)


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ({"id": pa.array(range(10), pa.uint64())}, ()),  # decimal(20,0) to Spark
        ({"when": pa.array([datetime.datetime(2026, 1, 1)] * 10)}, ("when",)),  # a time zone is the session's
    ],
)
def test_what_pyarrow_and_spark_may_read_differently_goes_through_spark(spark, tmp_path, columns, kept):
    folder = tmp_path / "vectors"
    table = table_of(FORMS["list<float>"])
    for name, column in columns.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(name, column)
    write(folder, table)
    source = source_of(spark, folder, *kept)

    assert not isinstance(source, FileSource)
    assert source.widths() == {DIM: 10}


def test_a_file_that_is_damaged_inside_is_named(tmp_path):
    table = pa.table({"id": IDS, "embedding": VECTORS.tolist()})
    write(tmp_path / "v", table, compression="zstd")
    damaged = bytearray((tmp_path / "v/0.parquet").read_bytes())
    damaged[4 : len(damaged) // 2] = bytes(len(damaged) // 2 - 4)
    (tmp_path / "v/0.parquet").write_bytes(damaged)
    part = Part(str(tmp_path / "v/0.parquet"), row_group=0, first_row=0, n_bytes=0, marks=Marks())

    with pytest.raises(SchemaError, match=r"0\.parquet: this file cannot be read any further"):
        list(read_part(part, Rows(("id", "embedding"), rejects=False, collapses=False), {}))


# --- exact copies, left out by the tasks that read


def collapsed(spark, tmp_path, copies, name="{}.parquet", more=()):
    """Sixty images in two files, of which some are rejected, as tasks read them and as Spark joins them."""
    folder, ids = tmp_path / "vectors", [f"i{number}" for number in range(60)]
    for file in range(2):
        mine = slice(30 * file, 30 * file + 30)
        rejected = [None if number % 11 else "no_image" for number in range(60)][mine]
        vectors = np.arange(30 * DIM, dtype=np.float32).reshape(30, DIM) + 1000 * file
        table = table_of(FORMS["list<float>"], vectors, ids=ids[mine], rejected_because=pa.array(rejected, pa.string()))
        table = table.rename_columns(["image_id", *table.column_names[1:]])
        for column in more:
            table = table.append_column(column, pa.array(range(30)))
        write(folder, table, name.format(file), row_group_size=7)
    images = spark.read.parquet(str(folder))
    named = local_rows(spark, copies, "image_id string, max_id string")
    config = settings(folder, "dup_count", id_field="image_id")
    mark = partial(mark_copies, images, named, str(tmp_path / "marks"), {})
    left = collapse_copies(images, named)
    return file_source(left, str(folder), config, mark), vector_source(left, config)


def copies_of(seed):
    """Groups over both files, the first row and the last of a row group among them; none is of a rejected image."""
    usable = [number for number in range(60) if number % 11]
    drawn = np.random.default_rng(seed).permutation(usable)
    groups = np.split(drawn[:32], [2, 5, 9, 20])
    return [(f"i{copy}", f"i{group[0]}") for group in groups for copy in group[1:]]


@pytest.mark.parametrize("copies", [copies_of(1), copies_of(2), []], ids=["some", "others", "none"])
def test_tasks_leave_out_the_copies_that_a_join_leaves_out_and_count_them_alike(spark, tmp_path, monkeypatch, copies):
    read, joined = collapsed(spark, tmp_path, copies)

    assert isinstance(read, FileSource)
    assert not isinstance(joined, FileSource)
    expected = rows_of(joined)
    assert expected.total() == 54 - len(copies)
    assert rows_of(read) == expected
    assert read.widths() == joined.widths()
    monkeypatch.setattr(vector_parts, "BATCH_ROWS", 3)  # several batches of a row group
    batches = [batch for task in read.parts for part in task for batch in read_part(part, read.taken, {})]
    counts = {
        id_: n for batch in batches for id_, n in zip(*(batch.column(at).to_pylist() for at in (0, 2)), strict=True)
    }
    assert counts == {id_: int(kept.strip("(,)")) for id_, _, kept in expected}
    assert sum(counts.values()) == len(copies)


@pytest.mark.parametrize("odd", [{"name": "part {} ä.parquet"}, {"more": ["_Metadata"]}], ids=["name", "column"])
def test_files_of_which_spark_does_not_say_what_row_is_where_are_joined(spark, tmp_path, odd):
    read, joined = collapsed(spark, tmp_path, copies_of(1), **odd)

    assert not isinstance(read, FileSource)
    assert rows_of(read) == rows_of(joined)


def test_folders_named_by_values_are_read_by_spark_which_makes_columns_of_them(spark, tmp_path):
    write(tmp_path / "year=2024", table_of(FORMS["list<float>"]))
    source = source_of(spark, tmp_path, "year")

    assert not isinstance(source, FileSource)
    assert rows_of(source).total() == 10


def test_files_that_do_not_all_have_a_column_are_read_by_spark(spark, tmp_path):
    folder = tmp_path / "vectors"
    write(folder, table_of(FORMS["list<float>"], size=pa.array(range(10))))
    write(folder, table_of(FORMS["list<float>"], ids=[f"other {n}" for n in range(10)]), "1.parquet")
    source = source_of(spark, folder, "size")

    assert not isinstance(source, FileSource)
    assert rows_of(source).total() == 20
