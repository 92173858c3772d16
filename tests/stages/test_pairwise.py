from __future__ import annotations

import numpy as np
import pytest

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages._vectors import VectorColumn, mark_vectors
from spark_imgdedup.stages.pairwise import score_pairs

# The hand-made cluster: the centroid is row 0, and rows 4 and 5 repeat it.
SIX = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], np.float32)
SIX_DISTANCES = [0.0, 0.025368, 0.040588, 0.048742, 0.0, 0.0]
HARD = {0: (5, 1.0), 1: (2, 0.998191), 2: (3, 0.999619), 3: (3, 0.0), 4: (5, 1.0), 5: (1, 0.974632)}
EASY = {0: (0, 0.0), 1: (0, 0.974632), 2: (1, 0.998191), 3: (2, 0.999619), 4: (0, 1.0), 5: (0, 1.0)}


def settings(own_ids=None, **pairwise):
    cluster = {} if own_ids is None else {"embeddings_path": "embeddings", "id_field": own_ids}
    return parse_config({"pairwise": pairwise, "cluster": cluster})


def clusters(spark, rows, id_schema="image_id string", kind="float32"):
    """rows: (id, cluster_id, distance, vector or None)"""
    column = VectorColumn(kind)
    stored = [
        (id_, cluster, None if vector is None else column.encode(np.array([vector], np.float32))[0].as_py(), distance)
        for id_, cluster, distance, vector in rows
    ]
    schema = f"{id_schema}, cluster_id int, embedding {column.spark_type}, cosine_dist_to_cent double"
    return mark_vectors(spark.createDataFrame(stored, schema), "embedding", column)


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
    df = spark.createDataFrame([], "image_id string, embedding array<float>")

    with pytest.raises(SchemaError, match=r"Stage 'pairwise' needs cluster_id int, cosine_dist_to_cent double"):
        score_pairs(df, settings())
