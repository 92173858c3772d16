from __future__ import annotations

import tracemalloc
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import artifacts
from spark_imgdedup.kernels.kmeans import auto_n_clusters, nearest_centroid, train_centroids
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages import centroids as training
from spark_imgdedup.stages import cluster as stage
from spark_imgdedup.stages.centroids import fit_centroids, unit_sample
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors, vector_column
from spark_imgdedup.stages.vectors.vector_source import vector_source
from tests.arrow import to_arrow
from tests.spark_versions import needs_spark_4

DIM = 6
RNG = np.random.default_rng(0)
# Four groups of 60 around four directions, far apart.
GROUPS = l2_normalize(np.repeat(np.eye(4, DIM), 60, axis=0) + 0.05 * RNG.standard_normal((240, DIM)))


def settings(own=None, embedding_type="float32", **cluster):
    if own is not None:
        cluster |= {"embeddings_path": "embeddings", "id_field": own[0], "embedding_field": own[1]}
    return parse_config({"cluster": cluster, "table": {"embedding_type": embedding_type}})


def table(spark, vectors, ids=None, kind="float32", columns=("image_id", "embedding"), id_type="string"):
    """A row for each vector, which may be None or of any length."""
    column = VectorColumn(kind)
    dtype = {"float16": "<f2", "float32": "<f4"}
    stored = [
        None if v is None else [float(x) for x in v] if kind == "array" else bytearray(np.array(v, dtype[kind]))
        for v in vectors
    ]
    ids = [f"id-{n:04}" for n in range(len(stored))] if ids is None else ids
    schema = f"{columns[0]} {id_type}, {columns[1]} {column.spark_type}"
    return mark_vectors(local_rows(spark, list(zip(ids, stored, strict=True)), schema), columns[1], column)


def rows_by_id(df, id_column="image_id"):
    return {row[id_column]: row for row in df.collect()}


@pytest.fixture(scope="module")
def centroids():
    return np.eye(4, DIM, dtype=np.float32)


def test_the_centroids_are_the_directions_of_the_groups(spark):
    found = fit_centroids(table(spark, GROUPS), settings(n_clusters=4))

    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert sorted(np.argmax(found, axis=1).tolist()) == [0, 1, 2, 3]
    assert found.max(axis=1).min() > 0.99


def test_the_same_rows_give_the_same_clusters_on_any_partitioning(spark):
    df, config = table(spark, GROUPS), settings(n_clusters=7, sample_rows=100)

    fitted = [fit_centroids(df.repartition(n), config) for n in (1, 2, 8)]
    assigned = [sorted(assign_clusters(df.repartition(n), fitted[0], config).collect()) for n in (1, 8)]

    assert len({centroids.tobytes() for centroids in fitted}) == 1
    assert len(assigned[0]) == 240
    assert assigned[0] == assigned[1]


def test_the_sample_is_a_share_drawn_by_the_ids_and_the_seed(spark):
    df = table(spark, GROUPS)

    def mean_of_sample(seed, n_rows, partitions=1):
        # One cluster: its centroid is the mean direction of the sample.
        config = settings(n_clusters=1, sample_rows=n_rows, random_state=seed)
        return fit_centroids(df.repartition(partitions), config).tobytes()

    everything = l2_normalize(GROUPS.mean(axis=0, dtype=np.float64)[None]).tobytes()
    assert np.frombuffer(mean_of_sample(1, 500), "<f4") == pytest.approx(np.frombuffer(everything, "<f4"), abs=1e-6)
    assert mean_of_sample(1, 40) == mean_of_sample(1, 40, partitions=5)
    assert len({mean_of_sample(seed, 40) for seed in (1, 2, 3)}) == 3


@pytest.mark.parametrize(("sample_rows", "expected"), [(None, 256), (17, 17), (5000, 600)])
def test_as_many_rows_are_drawn_as_asked_or_256_for_a_cluster(spark, caplog, sample_rows, expected):
    caplog.set_level("INFO", logger=training.__name__)
    vectors = np.tile(GROUPS, (3, 1))[:600]

    fit_centroids(table(spark, vectors), settings(n_clusters=1, sample_rows=sample_rows))

    assert f"training 1 centroids on {expected} of 600 rows" in caplog.text


def test_the_number_of_clusters_can_be_left_to_the_cost(spark):
    assert len(fit_centroids(table(spark, GROUPS), settings())) == auto_n_clusters(240, DIM)


def test_more_clusters_than_rows_are_as_many_as_rows(spark, caplog):
    df = table(spark, GROUPS[::60])

    found = fit_centroids(df, settings(n_clusters=9))

    assert len(found) == 4
    assert "n_clusters 9 is more than the 4 rows there are" in caplog.text
    assert {row.cosine_dist_to_cent for row in assign_clusters(df, found, settings()).collect()} == {0.0}


def test_a_sample_smaller_than_the_number_of_clusters_is_refused(spark):
    with pytest.raises(ConfigError, match=r"cluster\.sample_rows is 3, but 4 clusters .* at least 256"):
        fit_centroids(table(spark, GROUPS), settings(n_clusters=4, sample_rows=3))


def test_unusable_vectors_are_not_trained_on(spark):
    bad = [[0] * DIM, [np.nan] + [1] * (DIM - 1), None, [1, 2], []]
    df = table(spark, [*GROUPS[:60], *bad], kind="array")

    found = fit_centroids(df, settings(n_clusters=1))

    assert found == pytest.approx(l2_normalize(GROUPS[:60].mean(axis=0, dtype=np.float64)[None]), abs=1e-6)


def test_a_row_that_cannot_be_compared_stays_with_a_reason_and_no_cluster(spark, centroids):
    vectors = [
        [2, 0, 0, 0, 0, 0],
        None,
        [0] * DIM,
        [1, 0, 0, 0, 0, np.nan],
        [1, 0, 0, 0, 0, np.inf],
        [1, 0],
        [],
        [0, 0, 0, 5, 0, 0],
    ]
    ids = ["good", "null", "zero", "nan", "inf", "short", "empty", "last"]
    reasons = [None, "no_embedding", "zero_embedding", *["nan_embedding"] * 2, *["wrong_length"] * 2, None]
    expected = dict(zip(ids, reasons, strict=True))

    for kind, written in (("float32", "float32"), ("float16", "float16"), ("array", "float32"), ("array", "array")):
        df = table(spark, vectors, ids, kind)
        found = rows_by_id(assign_clusters(df, centroids, settings(embedding_type=written)))

        clusters = {id_: row.cluster_id for id_, row in found.items() if row.cluster_id is not None}
        assert {id_: row.rejected_because for id_, row in found.items()} == expected, kind
        assert clusters == {"good": 0, "last": 3}
        assert {id_ for id_, row in found.items() if row.cosine_dist_to_cent is not None} == set(clusters)


def test_a_row_without_an_id_is_rejected(spark, centroids):
    df = table(spark, [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]], [7, None], id_type="bigint")

    found = rows_by_id(assign_clusters(df, centroids, settings()))

    assert (found[None].rejected_because, found[None].cluster_id) == ("no_id", None)
    assert (found[7].rejected_because, found[7].cluster_id) == (None, 0)


@pytest.mark.parametrize("rows", ["none", "all rejected", "all zero", "all null", "all empty"])
def test_nothing_to_cluster_gives_no_centroids_and_no_error(spark, rows):
    config = settings(n_clusters=2)
    df = table(
        spark,
        {"none": [], "all rejected": GROUPS[:3], "all zero": [[0] * DIM] * 3}.get(
            rows, [None if rows == "all null" else []] * 3
        ),
        kind="array",
    )
    if rows == "all rejected":
        df = df.selectExpr("*", "'unreadable' as rejected_because")

    found = fit_centroids(df, config)
    clusters = assign_clusters(df, found, config).collect()

    reasons = {"all zero": ["zero_embedding"] * 3, "all null": ["no_embedding"] * 3, "all empty": ["wrong_length"] * 3}
    assert len(found) == 0
    assert [row.rejected_because for row in clusters] == reasons.get(rows, [])
    assert {row.cluster_id for row in clusters} <= {None}


def test_rows_that_were_rejected_before_are_left_out(spark, centroids):
    df = table(spark, GROUPS[:3]).selectExpr("*", "if(image_id = 'id-0001', 'low_score', null) as rejected_because")

    assert sorted(rows_by_id(assign_clusters(df, centroids, settings()))) == ["id-0000", "id-0002"]


@pytest.mark.parametrize(
    ("id_type", "ids", "vector_type"),
    [
        ("string", ["b", "a"], "array<double>"),
        ("bigint", [2**53 + 1, -1], "array<float>"),
        ("int", [2, 1], "array<float>"),
        ("smallint", [2, 1], "array<double>"),
        ("decimal(20,0)", [Decimal(2**64 - 1), Decimal(1)], "array<float>"),  # uint64 in Parquet
    ],
)
def test_columns_of_ones_own_keep_their_name_and_type(spark, centroids, id_type, ids, vector_type):
    rows = [(ids[0], [0.0, 3.0, 0.0, 0.0, 0.0, 4.0]), (ids[1], [0.0, 0.0, 9.0, 0.0, 0.0, 0.0])]
    df = local_rows(spark, rows, f"`clip id` {id_type}, vec {vector_type}")

    clusters = assign_clusters(df, centroids, settings(own=("clip id", "vec")))

    described = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in clusters.schema)
    assert described == schemas.CLUSTERS.format(id=f"clip id {id_type}", embedding="binary")
    assert {key: (row.cluster_id, row.cosine_dist_to_cent) for key, row in rows_by_id(clusters, "clip id").items()} == {
        ids[0]: (1, 0.4),
        ids[1]: (2, 0.0),
    }
    assert np.frombuffer(rows_by_id(clusters, "clip id")[ids[0]].embedding, "<f4").tolist() == [0, 3, 0, 0, 0, 4]


@pytest.mark.parametrize(
    ("kind", "asked", "written"),
    [
        ("float16", "float32", "float16"),
        ("float32", "float16", "float32"),
        ("array", "float16", "float32"),
        ("array", "array", "array"),
    ],
)
def test_vectors_are_kept_as_stored_and_lists_become_float32_unless_lists_are_asked_for(
    spark, centroids, kind, asked, written
):
    df = table(spark, GROUPS[:5], kind=kind)

    clusters = assign_clusters(df, centroids, settings(embedding_type=asked))

    column = vector_column(clusters, "embedding", stage="test")
    assert column == VectorColumn(written)
    stored, given = (column_of(found) for found in (clusters, df))
    assert np.array_equal(column.decode(stored), VectorColumn(kind).decode(given))


def column_of(df):
    return to_arrow(df.select("image_id", "embedding").orderBy("image_id"))["embedding"]


def test_each_row_is_in_the_cluster_of_its_nearest_centroid(spark):
    config = settings(n_clusters=9)
    df = table(spark, GROUPS)
    fitted = fit_centroids(df, config)

    found = rows_by_id(assign_clusters(df, fitted, config))

    cluster_ids, distances = nearest_centroid(l2_normalize(GROUPS), fitted)
    assert [found[f"id-{n:04}"].cluster_id for n in range(240)] == cluster_ids.tolist()
    assert [found[f"id-{n:04}"].cosine_dist_to_cent for n in range(240)] == distances.tolist()


def test_stored_centroids_assign_as_those_in_memory(spark, tmp_path, centroids):
    df, config = table(spark, GROUPS), settings()
    stored = artifacts.save(str(tmp_path / "centroids"), centroids)

    assert sorted(assign_clusters(df, stored, config).collect()) == sorted(
        assign_clusters(df, centroids, config).collect()
    )


def test_centroids_that_were_changed_after_they_were_stored_stop_the_run(spark, tmp_path, centroids):
    stored = artifacts.save(str(tmp_path / "centroids"), centroids * np.float32(-1))
    np.save(tmp_path / "centroids" / "array.npy", centroids[::-1])

    with pytest.raises(Exception, match=r"array\.npy does not match its manifest"):
        assign_clusters(table(spark, GROUPS[:2]), stored, settings()).collect()


def test_centroids_too_large_for_a_closure_are_refused(spark):
    large = np.broadcast_to(np.float32(1), (stage.MAX_CLOSURE_BYTES // 4 // DIM + 1, DIM))

    with pytest.raises(ConfigError, match=r"too many for a closure\. Pass artifacts\.save"):
        assign_clusters(table(spark, GROUPS[:1]), large, settings())


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("id string, vec array<float>", "needs image_id"),
        ("image_id string, vec array<float>", "needs embedding"),
        ("image_id double, embedding array<float>", "column 'image_id' is double"),
        ("image_id string, embedding array<int>", "found array<int>"),
        ("image_id string, embedding array<string>", "found array<string>"),
        ("image_id string, embedding binary", "found binary"),
    ],
)
def test_a_table_without_ids_or_vectors_is_refused_before_any_work(spark, schema, message):
    with pytest.raises(SchemaError, match=message):
        vector_source(local_rows(spark, [], schema), settings())


# Numbers that float16 holds exactly, so that every form below holds the same vectors.
HALVES = GROUPS[::4].astype(np.float16)
FORMS = {
    "list<float>": pa.list_(pa.float32()),
    "list<double>": pa.list_(pa.float64()),
    "fixed_size_list<float>": pa.list_(pa.float32(), DIM),
    "list<float16>": pa.list_(pa.float16()),
    "fixed_size_list<float16>": pa.list_(pa.float16(), DIM),
}


def in_form(spark, form, path):
    """The ids and vectors of HALVES in a Parquet file, and a null vector and one with a null in it."""
    ids = [f"id-{n:02}" for n in range(len(HALVES))]
    if form == "vector":
        from pyspark.ml.linalg import Vectors

        forms = (Vectors.dense, lambda row: Vectors.sparse(DIM, range(DIM), row))
        vectors = [forms[n % 2](row) for n, row in enumerate(HALVES.astype(float))]
        vectors += [None, Vectors.dense([float("nan")] * DIM)]
        rows = list(zip([*ids, "null", "nan"], vectors, strict=True))
        spark.createDataFrame(rows, ["image_id", "embedding"]).write.parquet(str(path))
    else:
        numbers = np.float16 if pa.types.is_float16(FORMS[form].value_type) else float
        vectors = [[numbers(x) for x in row] for row in HALVES] + [None, [None] + [numbers(1)] * (DIM - 1)]
        pq.write_table(pa.table({"image_id": [*ids, "null", "nan"], "embedding": pa.array(vectors, FORMS[form])}), path)
    return open_table(spark, (str(path),))


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=needs_spark_4 if "float16" in form else ()) for form in (*FORMS, "vector")]
)
def test_vectors_in_any_form_give_the_same_clusters(spark, tmp_path, form):
    df, config = in_form(spark, form, tmp_path / "t.parquet"), settings(n_clusters=4, embedding_type="float16")

    fitted = fit_centroids(df, config)
    clusters = assign_clusters(df, fitted, config)

    found = rows_by_id(clusters)
    ours = [found[f"id-{n:02}"] for n in range(len(HALVES))]
    plain = table(spark, HALVES.astype(np.float32), [row.image_id for row in ours], kind="float32")
    assert np.array_equal(fitted, fit_centroids(plain, config))
    cluster_ids, distances = nearest_centroid(l2_normalize(HALVES), fitted)
    assert [row.cluster_id for row in ours] == cluster_ids.tolist()
    assert [row.cosine_dist_to_cent for row in ours] == distances.tolist()
    column = vector_column(clusters, "embedding", stage="test")
    assert column == VectorColumn("float16" if "float16" in form else "float32")
    stored = column.decode(pa.array([row.embedding for row in ours], pa.binary()))
    assert np.array_equal(stored, HALVES.astype(np.float32))
    assert (found["null"].rejected_because, found["nan"].rejected_because) == ("no_embedding", "nan_embedding")


def test_metadata_stays_with_every_row_and_other_columns_do_not(spark, centroids):
    vectors = [[2, 0, 0, 0, 0, 0], None, [0] * DIM]
    df = table(spark, vectors, ["good", "null", "zero"]).selectExpr(
        *("image_id", "embedding", "1 as other", "array(length(image_id), null) as sizes"),
        "cast(length(image_id) as decimal(30, 10)) as `meta.price`",
    )
    df = mark_vectors(df, "embedding", VectorColumn("float32"))
    config = settings(metadata_columns=["meta.price", "sizes"])

    clusters = assign_clusters(df, centroids, config)

    assert clusters.columns[5:] == ["meta.price", "sizes"]
    assert [clusters.schema[name].dataType for name in clusters.columns[5:]] == [
        df.schema[name].dataType for name in clusters.columns[5:]
    ]
    assert {id_: (row["meta.price"], row.sizes) for id_, row in rows_by_id(clusters).items()} == {
        id_: (Decimal(4), [4, None]) for id_ in ("good", "null", "zero")
    }
    assert fit_centroids(df, config).shape == (1, DIM)


def test_metadata_that_the_table_lacks_or_that_has_no_order_is_refused_before_any_work(spark):
    df = local_rows(spark, [], "image_id string, embedding array<float>, sizes array<int>")
    ranked = {"which_to_keep": "metadata", "metadata_columns": ["sizes"]}

    with pytest.raises(
        SchemaError, match=r"Stage 'cluster' needs qualty, but its input has image_id, embedding, sizes"
    ):
        fit_centroids(df, settings(metadata_columns=["qualty"]))
    with pytest.raises(SchemaError, match=r"column 'sizes' is array<int>, which cannot be ranked by"):
        fit_centroids(df, parse_config({"cluster": {"metadata_columns": ["sizes"]}, "pairwise": ranked}))


def test_training_takes_little_more_memory_than_its_sample():
    n, dim = 20_000, 64
    vectors = VectorColumn("float32").encode(np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32))
    batches = [pa.RecordBatch.from_arrays([vectors.slice(at, 500)], ["embedding"]) for at in range(0, n, 500)]

    tracemalloc.start()
    try:
        sample = unit_sample(batches, VectorColumn("float32"), n, dim)
        centroids = train_centroids(sample, n_clusters=50, random_state=0, max_iter=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (sample.shape, centroids.shape) == ((n, dim), (50, dim))
    assert peak < 1.3 * sample.nbytes + 10_000_000  # scratch, whatever the sample
