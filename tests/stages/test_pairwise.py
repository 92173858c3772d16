from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.ranking import rank_order
from spark_imgdedup.stages.grouping.groups import map_groups, map_sorted_groups
from spark_imgdedup.stages.kept_columns import rank_keys
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors

# The hand-made cluster: the centroid is row 0, and rows 4 and 5 repeat it.
SIX = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], np.float32)
SIX_DISTANCES = [0.0, 0.025368, 0.040588, 0.048742, 0.0, 0.0]
HARD = {0: (5, 1.0), 1: (2, 0.998191), 2: (3, 0.999619), 3: (3, 0.0), 4: (5, 1.0), 5: (1, 0.974632)}
EASY = {0: (0, 0.0), 1: (0, 0.974632), 2: (1, 0.998191), 3: (2, 0.999619), 4: (0, 1.0), 5: (0, 1.0)}


def settings(own_ids=None, metadata=(), **pairwise):
    cluster = {} if own_ids is None else {"embeddings_path": "embeddings", "id_field": own_ids}
    return parse_config({"pairwise": pairwise, "cluster": cluster | {"metadata_columns": list(metadata)}})


def clusters(spark, rows, id_schema="image_id string", kind="float32"):
    """rows: (id, cluster_id, distance, vector or None)"""
    column = VectorColumn(kind)
    stored = [
        (id_, cluster, None if vector is None else column.encode(np.array([vector], np.float32))[0].as_py(), distance)
        for id_, cluster, distance, vector in rows
    ]
    schema = f"{id_schema}, cluster_id int, embedding {column.spark_type}, cosine_dist_to_cent double"
    return mark_vectors(local_rows(spark, stored, schema), "embedding", column)


def six(spark, **kwargs):
    rows = [(i, 0, SIX_DISTANCES[i], SIX[i]) for i in range(6)]
    return clusters(spark, rows, "id bigint", **kwargs)


def found(df, id_column="id"):
    return {row[id_column]: (row.max_id, row.cosine_sim_score) for row in df.collect()}


@pytest.mark.parametrize(("which_to_keep", "expected"), [("hard", HARD), ("easy", EASY)])
@pytest.mark.parametrize("kind", ["float32", "array"])
def test_the_hand_made_cluster_scores_as_published(spark, which_to_keep, expected, kind):
    # One file with rows 0 to 2 and one with rows 3 to 5, as in the published case.
    df = six(spark, kind=kind).repartitionByRange(2, "id")

    assert found(score_pairs(df, settings("id", which_to_keep=which_to_keep))) == expected


def test_random_ranking_repeats_and_changes_with_its_seed(spark):
    def scored(seed):
        return found(score_pairs(six(spark), settings("id", which_to_keep="random", random_state=seed)))

    assert scored(1) == scored(1)
    assert len({frozenset(scored(seed).items()) for seed in range(4)}) > 1


def test_rows_of_other_clusters_are_not_compared_and_a_single_row_names_itself(spark):
    rows = [("a", 0, 0.1, [1, 0]), ("b", 1, 0.1, [1, 0]), ("c", 1, 0.2, [1, 0]), ("d", 2, 0.0, [0, 1])]

    scored = found(score_pairs(clusters(spark, rows), settings()), "image_id")

    assert scored == {"a": ("a", 0.0), "b": ("c", 1.0), "c": ("c", 0.0), "d": ("d", 0.0)}


def test_a_row_opposite_to_all_before_it_keeps_its_negative_score(spark):
    rows = [("a", 0, 0.0, [1, 0]), ("b", 0, 2.0, [-1, 0])]

    scored = found(score_pairs(clusters(spark, rows), settings(which_to_keep="easy")), "image_id")

    assert scored == {"a": ("a", 0.0), "b": ("a", -1.0)}


def test_rows_without_a_cluster_have_no_similarities(spark):
    rows = [("a", 0, 0.1, [1, 0]), ("b", None, None, None), ("c", None, None, [0, 0])]

    assert found(score_pairs(clusters(spark, rows), settings()), "image_id") == {"a": ("a", 0.0)}


def test_no_clusters_give_no_rows(spark):
    assert score_pairs(clusters(spark, []), settings()).collect() == []


@pytest.mark.parametrize(
    ("id_schema", "ids"),
    [
        ("image_id string", ["x", "y"]),
        ("image_id bigint", [2**53 + 1, 2**53]),
        ("image_id int", [1, 2]),
        ("image_id smallint", [1, 2]),
    ],
)
def test_ids_keep_their_type_in_both_columns(spark, id_schema, ids):
    rows = [(id_, 0, 0.5 - place / 10, [1, 0]) for place, id_ in enumerate(ids)]

    scored = score_pairs(clusters(spark, rows, id_schema), settings())

    id_type = id_schema.split()[1]
    described = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in scored.schema)
    assert described == schemas.SIMILARITIES.format(id=id_schema, id_type=id_type)
    assert found(scored, "image_id") == {ids[0]: (ids[0], 0.0), ids[1]: (ids[0], 1.0)}


def test_the_id_column_keeps_the_users_name(spark):
    rows = [("x", 0, 0.5, [1, 0])]

    scored = score_pairs(clusters(spark, rows, "`clip id` string"), settings("clip id"))

    assert scored.columns[0] == "clip id"
    assert found(scored, "clip id") == {"x": ("x", 0.0)}


def test_partitions_and_batches_do_not_show_in_the_result(spark):
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((90, 6)).astype(np.float32)
    vectors[30:50] = vectors[:20]
    rows = [(f"id-{n}", int(n % 3), float(round(n % 7 / 10, 6)), vectors[n]) for n in range(90)]
    df = clusters(spark, rows)

    def scored(n_partitions, batch_size):
        return sorted(score_pairs(df.repartition(n_partitions), settings(batch_size=batch_size)).collect())

    expected = scored(1, 1024)
    assert len(expected) == 90
    assert scored(8, 1) == scored(2, 7) == expected


def test_a_table_without_clusters_is_refused_before_any_work(spark):
    df = local_rows(spark, [], "image_id string, embedding array<float>")

    with pytest.raises(SchemaError, match=r"Stage 'pairwise' needs cluster_id int, cosine_dist_to_cent double"):
        score_pairs(df, settings())


@pytest.fixture
def in_berlin(spark):
    """A session whose time zone is not UTC, which alone Spark takes back from applyInArrow."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    yield spark
    spark.conf.set("spark.sql.session.timeZone", before)


def test_columns_of_any_type_and_name_stay_with_their_rows_as_they_are(in_berlin):
    typed = six(in_berlin).selectExpr(
        *("id", "cluster_id", "embedding", "cosine_dist_to_cent", "'not asked for' as other"),
        "cast(id as decimal(38, 18)) as price",
        "array(id, null) as sizes",
        "map('k', array(id / 2D)) as marks",
        "named_struct('at', timestamp'2024-03-31 03:30:00', 'by', cast('ann' as binary)) as edit",
        "timestamp'2024-01-01 00:00:00' + make_dt_interval(cast(id as int)) as taken",
        "map('k', array(timestamp'2024-01-01 00:00:00')) as seen",
        "timestamp_ntz'2024-01-01 00:00:00' as clock",
        "date'2024-02-02' as day",
        "id % 2 = 0 as `is even`",
        "cast(null as string) as `meta.license`",
    )
    df = mark_vectors(typed, "embedding", VectorColumn("float32"))
    names = df.columns[5:]

    scored = score_pairs(df, settings("id", names, which_to_keep="metadata", metadata_columns=["taken"]))

    assert scored.columns == ["id", "cluster_id", "max_id", "cosine_sim_score", "cosine_dist_to_cent", *names]
    assert [scored.schema[name].dataType for name in names] == [df.schema[name].dataType for name in names]
    given = {row.id: [row[name] for name in names] for row in df.collect()}
    rows = {row.id: row for row in scored.collect()}
    assert {id_: [row[name] for name in names] for id_, row in rows.items()} == given
    assert rows[0].max_id == 0  # the earliest moment ranks first


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**53, 2**53 + 1, None, 2**53]),
        pa.array([0.5, 1.5, float("nan"), 0.5]),
        pa.array(["a", "b", None, "a"]),
        pa.array([False, True, None, False]),
        pa.array([Decimal("1." + "0" * 18), Decimal("1." + "0" * 17 + "1"), None, Decimal(1)], pa.decimal128(38, 18)),
        pa.array([0, 3_000_000, None, 0], pa.date32()),  # the year 10183, which Python's dates do not reach
        pa.array([-(2**62), 2**62, None, -(2**62)], pa.timestamp("us", "Europe/Berlin")),
        pa.array([0, 1, None, 0], pa.timestamp("us")),
    ],
    ids=lambda values: str(values.type),
)
def test_columns_of_every_ordered_type_rank_with_the_missing_last(values):
    def order(ascending):
        config = settings(metadata=["key"], which_to_keep="metadata", metadata_columns=["key"], ascending=ascending)
        keys = rank_keys(pa.table({"_kept_0": values}), np.zeros(4), config)
        found = rank_order([0, 1, 2, 3], np.zeros(4), which_to_keep="metadata", random_state=0, keys=keys)
        return found.tolist()

    assert order(True) == [0, 3, 1, 2]
    assert order(False) == [1, 0, 3, 2]


def test_the_distance_and_the_id_are_columns_to_rank_by(spark):
    rows = [("a", 0, 0.2, [1, 0]), ("b", 0, 0.1, [1, 0]), ("c", 0, 0.2, [1, 0])]

    def order(*columns, ascending):
        config = settings(which_to_keep="metadata", metadata_columns=list(columns), ascending=ascending)
        return [row.image_id for row in score_pairs(clusters(spark, rows), config).collect()]

    assert order("cosine_dist_to_cent", ascending=False) == ["a", "c", "b"]
    assert order("cosine_dist_to_cent", "image_id", ascending=[False, False]) == ["c", "a", "b"]


@pytest.mark.parametrize("kind", ["array<int>", "map<string,int>", "struct<a:int>", "binary"])
def test_a_column_without_an_order_is_refused_before_any_work(spark, kind):
    df = clusters(spark, []).selectExpr("*", f"cast(null as {kind}) as key")
    df = df.withMetadata("embedding", VectorColumn("float32").metadata)

    with pytest.raises(SchemaError, match=r"pairwise\.metadata_columns: column 'key' is .*which cannot be ranked by"):
        score_pairs(df, settings(metadata=["key"], which_to_keep="metadata", metadata_columns=["key"]))


def test_a_column_that_the_table_lacks_is_refused_before_any_work(spark):
    with pytest.raises(SchemaError, match=r"Stage 'pairwise' needs quality, but its input has image_id, cluster_id"):
        score_pairs(clusters(spark, []), settings(metadata=["quality"]))


@pytest.mark.parametrize("max_rows", [1, 2, 3, 100])
def test_groups_cut_from_sorted_partitions_are_those_of_spark(spark, max_rows):
    """The way of Spark 3.5, which has no applyInArrow; a group may go over the batches that Spark makes."""
    rows = [(f"{key}/{n}", key) for key, size in enumerate((1, 5, 2, 0, 4, 1)) for n in range(size)]
    df = local_rows(spark, rows, "image_id string, cluster_id int").repartition(2, "cluster_id")
    schema = local_rows(spark, [], "cluster_id int, ids array<string>").schema

    def work(group):
        ids = pa.array([sorted(group["image_id"].to_pylist())])
        return pa.table({"cluster_id": group["cluster_id"][:1], "ids": ids})

    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(max_rows))
    cut = sorted(map(tuple, map_sorted_groups(df, "cluster_id", work, schema).collect()))
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", before)

    expected = {}
    for name, key in rows:
        expected.setdefault(key, []).append(name)
    assert cut == sorted(expected.items())
    assert cut == sorted(map(tuple, map_groups(df, "cluster_id", work, schema, 2).collect()))
