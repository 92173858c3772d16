from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.vectors.vector_column import (
    HALVES,
    VectorColumn,
    mark_vectors,
    require_id_type,
    vector_column,
    vector_lengths,
    vector_values,
)

KINDS = ["float16", "float32", "array"]
kinds = st.sampled_from(KINDS)
halves = st.floats(-1, 1, width=16)  # exact in every kind
matrices = npst.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 9)), elements=halves)


@given(kinds, matrices)
def test_vectors_come_back_as_they_were_stored(kind, matrix):
    column = VectorColumn(kind)

    decoded = column.decode(column.encode(matrix))

    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, matrix)


@given(kinds, matrices, st.data())
def test_slices_and_chunks_of_a_column_decode_to_its_rows(kind, matrix, data):
    column = VectorColumn(kind)
    encoded = column.encode(matrix)
    start = data.draw(st.integers(0, len(matrix)))
    chunks = [encoded[start:], encoded[:start], encoded[:0]]

    decoded = column.decode(pa.chunked_array(chunks, encoded.type))

    assert np.array_equal(decoded, np.concatenate([matrix[start:], matrix[:start]]))


@given(kinds, matrices, st.data())
def test_absent_vectors_are_null_and_the_others_keep_their_places(kind, matrix, data):
    present = np.array(data.draw(st.permutations([True] * len(matrix) + [False] * 3)))
    column = VectorColumn(kind)

    encoded = column.encode(matrix, present)

    assert np.asarray(encoded.is_valid()).tolist() == present.tolist()
    assert np.array_equal(column.decode(encoded.filter(pa.array(present))), matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_may_hold_no_vector_at_all(kind):
    column = VectorColumn(kind)

    encoded = column.encode(np.zeros((0, 1), np.float32), np.zeros(3, bool))

    assert encoded.null_count == len(encoded) == 3
    assert column.decode(encoded[:0]).shape == (0, 0)


@pytest.mark.parametrize(("kind", "n_bytes"), [("float16", 2), ("float32", 4)])
def test_binary_vectors_are_little_endian(kind, n_bytes):
    (stored,) = VectorColumn(kind).encode(np.array([[1.0, -2.0]], np.float32)).to_pylist()

    assert stored == np.array([1, -2], f"<f{n_bytes}").tobytes()


@given(kinds, matrices)
def test_the_width_of_a_vector_is_what_arrow_counts(kind, matrix):
    column = VectorColumn(kind)

    lengths = set(vector_lengths(column.encode(matrix)).to_pylist())

    assert lengths == {column.width(matrix.shape[1])}
    assert column.dim(lengths.pop()) == matrix.shape[1]


@pytest.mark.parametrize(
    "vectors",
    [
        pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32())),
        pa.array([[1.0, 2.0], None], pa.list_(pa.float32())),
        pa.array([[]], pa.list_(pa.float32())),
    ],
    ids=["ragged", "null", "empty"],
)
def test_vectors_that_make_no_matrix_are_refused(vectors):
    with pytest.raises(SchemaError, match="must have the same length"):
        VectorColumn("array").decode(vectors)


def test_large_binary_columns_decode_too():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    column = VectorColumn("float32")

    assert np.array_equal(column.decode(column.encode(matrix).cast(pa.large_binary())), matrix)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [("embedding array<float>", "array"), ("embedding array<double>", "array")],
)
def test_lists_of_numbers_need_no_mark(spark, schema, kind):
    assert vector_column(local_rows(spark, [], schema), "embedding", stage="cluster") == VectorColumn(kind)


def test_a_binary_column_says_how_it_is_stored_even_after_a_shuffle_and_parquet(spark, tmp_path):
    column = VectorColumn("float16")
    df = mark_vectors(local_rows(spark, [(1, bytearray(b"\0\0"))], "n int, v binary"), "v", column)

    df.repartition(2, "n").write.parquet(str(tmp_path / "t"))

    assert vector_column(spark.read.parquet(str(tmp_path / "t")), "v", stage="cluster") == column


@pytest.mark.parametrize(
    "schema",
    [
        "embedding binary",
        "embedding string",
        "embedding array<string>",
        "embedding array<int>",
        "embedding array<binary>",
        "embedding array<array<float>>",
        "other int",
    ],
)
def test_a_column_without_vectors_is_refused_with_what_to_use(spark, schema):
    accepted = "array<float>, array<double>, a Parquet list of float16, Spark ML's vector, or the binary embeddings"
    with pytest.raises(SchemaError, match=f"Stage 'cluster' needs embeddings in column 'embedding'.*{accepted}"):
        vector_column(local_rows(spark, [], schema), "embedding", stage="cluster")


@pytest.mark.parametrize("kind", KINDS)
def test_spark_counts_lengths_as_arrow_does(spark, kind):
    column = VectorColumn(kind)
    encoded = column.encode(np.ones((2, 5), np.float32), np.array([True, False, True]))
    df = local_rows(spark, [(value,) for value in encoded.to_pylist()], f"v {column.spark_type}")

    found = [row.n for row in df.select(column.lengths("v").alias("n")).where("n > 0").collect()]

    assert found == [column.width(5)] * 2


def halves(*vectors):
    """Vectors as `open_table` reads lists of float16: each number as its two little-endian bytes."""
    encoded = [v if v is None else [x if x is None else np.float16(x).tobytes() for x in v] for v in vectors]
    return pa.array(encoded, pa.list_(pa.binary()))


@given(matrices, st.data())
def test_slices_and_chunks_of_float16_lists_decode_to_their_rows(matrix, data):
    encoded = halves(*matrix)
    start = data.draw(st.integers(0, len(matrix)))

    decoded = VectorColumn(HALVES).decode(pa.chunked_array([encoded[start:], encoded[:start]], encoded.type))

    assert np.array_equal(decoded, np.concatenate([matrix[start:], matrix[:start]]))


@pytest.mark.parametrize(
    ("kind", "vectors"),
    [("array", pa.array([[1.0, None], [None, 2.0]], pa.list_(pa.float32()))), (HALVES, halves([1, None], [None, 2]))],
)
def test_a_null_within_a_vector_is_nan(kind, vectors):
    decoded = VectorColumn(kind).decode(vectors)

    assert np.array_equal(decoded, np.array([[1, np.nan], [np.nan, 2]], np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("kind", "wanted", "written"),
    [
        ("float16", "float32", "float16"),
        ("float32", "array", "float32"),
        ("array", "float16", "float32"),
        ("array", "array", "array"),
        (HALVES, "float32", "float16"),
        (HALVES, "array", "array"),
    ],
)
def test_lists_are_written_as_bytes_that_lose_nothing_unless_lists_are_wanted(kind, wanted, written):
    assert VectorColumn(kind).in_table(wanted) == VectorColumn(written)


def test_vectors_are_never_written_as_float16_lists():
    with pytest.raises(ValueError, match="in_table"):
        VectorColumn(HALVES).encode(np.ones((1, 2), np.float32))


def test_vectors_of_spark_ml_are_dense_sparse_or_null(spark):
    from pyspark.ml.linalg import Vectors

    rows = [("dense", Vectors.dense([1.0, 2.0, 0.5])), ("sparse", Vectors.sparse(3, [1], [4.0])), ("null", None)]
    df = spark.createDataFrame(rows, ["id", "v"])
    column = vector_column(df, "v", stage="cluster")

    values = df.select("id", vector_values(df, "v", column).alias("v"))

    assert column == VectorColumn("array")
    assert dict(values.dtypes)["v"] == "array<float>"
    assert dict(map(tuple, values.collect())) == {"dense": [1.0, 2.0, 0.5], "sparse": [0.0, 4.0, 0.0], "null": None}


@pytest.mark.parametrize("kind", ["string", "tinyint", "smallint", "int", "bigint", "decimal(20,0)"])
def test_ids_are_text_or_whole_numbers(spark, kind):
    require_id_type(local_rows(spark, [], f"id {kind}"), "id")


@pytest.mark.parametrize("kind", ["double", "binary", "decimal(20,2)", "timestamp", "array<string>"])
def test_what_is_no_id_is_refused_by_name(spark, kind):
    with pytest.raises(
        SchemaError, match=r"cluster\.id_field: column 'clip' is .*Cast it to string or an integer type"
    ):
        require_id_type(local_rows(spark, [], f"clip {kind}"), "clip")
