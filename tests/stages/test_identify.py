from __future__ import annotations

import pytest

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.stages.identify import identify_duplicates, similarity_threshold
from spark_imgdedup.stages.local_rows import local_rows

# (id, max_id, score) of the hand-made cluster of tests/stages/test_pairwise.py.
HARD = [(0, 5, 1.0), (1, 2, 0.998191), (2, 3, 0.999619), (3, 3, 0.0), (4, 5, 1.0), (5, 1, 0.974632)]
EASY = [(0, 0, 0.0), (1, 0, 0.974632), (2, 1, 0.998191), (3, 2, 0.999619), (4, 0, 1.0), (5, 0, 1.0)]


def settings(eps, own_ids=None):
    cluster = {} if own_ids is None else {"embeddings_path": "embeddings", "id_field": own_ids}
    return parse_config({"identify": {"eps": eps}, "cluster": cluster})


def similarities(spark, rows, id_column="image_id", id_type="bigint"):
    schema = schemas.SIMILARITIES.format(id=f"`{id_column}` {id_type}", id_type=id_type)
    return local_rows(spark, [(id_, 0, max_id, score, 0.0) for id_, max_id, score in rows], schema)


def removed(spark, rows, eps):
    return {row.image_id for row in identify_duplicates(similarities(spark, rows), settings(eps)).collect()}


def scores(*values):
    """Rows that all resemble row 0, which is the best-ranked."""
    return [(0, 0, 0.0), *((number, 0, value) for number, value in enumerate(values, start=1))]


@pytest.mark.parametrize(
    ("rows", "by_eps"),
    [
        (HARD, {0.1: {0, 1, 2, 4, 5}, 0.01: {0, 1, 2, 4}, 0.003: {0, 1, 2, 4}, 0.001: {0, 2, 4}, 0: {0, 4}}),
        (EASY, {0.1: {1, 2, 3, 4, 5}, 0.01: {2, 3, 4, 5}, 0.003: {2, 3, 4, 5}, 0.001: {3, 4, 5}, 0: {4, 5}}),
    ],
    ids=["hard", "easy"],
)
def test_the_published_rows_are_removed_at_each_eps(spark, rows, by_eps):
    assert {eps: removed(spark, rows, eps) for eps in by_eps} == by_eps


@pytest.mark.parametrize(
    ("values", "eps", "n_removed"),
    [
        ((0.95, 0.95, 0.85, 0.85, 0.75), 0.1, 2),
        ((0.5, 0.6, 0.7), 0.1, 0),
        ((0.98, 0.98, 0.85, 0.85), 0.01, 0),
        ((0.98, 0.98, 0.85, 0.85), 0.2, 4),
        ((0.82, 0.819999), 0.18, 1),
        ((), 0.5, 0),
    ],
)
def test_as_many_rows_are_removed_as_published(spark, values, eps, n_removed):
    assert len(removed(spark, scores(*values), eps)) == n_removed


def test_the_threshold_is_the_decimal_that_eps_means():
    assert [similarity_threshold(eps) for eps in (0.0, 0.01, 0.18, 0.29, 1e-6)] == [1.0, 0.99, 0.82, 0.71, 0.999999]


def test_the_best_ranked_row_stays_at_an_eps_just_below_one(spark):
    assert removed(spark, scores(0.0, 0.3, -0.2), 1 - 1e-9) == {1, 2}


def test_a_table_without_rows_gives_no_duplicates(spark):
    assert removed(spark, [], 0.1) == set()


@pytest.mark.parametrize(("id_type", "ids"), [("string", ("a", "b")), ("bigint", (1, 2)), ("int", (1, 2))])
def test_the_columns_name_the_image_that_is_repeated_and_keep_the_users_id(spark, id_type, ids):
    df = similarities(spark, [(ids[0], ids[0], 0.0), (ids[1], ids[0], 0.9)], "my id", id_type)

    duplicates = identify_duplicates(df, settings(0.2, own_ids="my id"))

    described = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in duplicates.schema)
    expected = schemas.DUPLICATES.format(id=f"my id {id_type}", id_type=id_type).split(", ")[:5]
    assert described == ", ".join("`{}` {}".format(*part.rsplit(" ", 1)) for part in expected)
    assert [tuple(row) for row in duplicates.collect()] == [(ids[1], ids[0], 0.9, 0, "embedding")]


@pytest.mark.parametrize("eps", ["auto", None])
def test_an_eps_that_is_no_number_is_refused(spark, eps):
    with pytest.raises(ConfigError, match=r"identify\.eps must be a number"):
        identify_duplicates(similarities(spark, HARD), settings(eps))


def test_a_table_without_scores_is_refused(spark):
    df = local_rows(spark, [], "image_id string, cluster_id int, max_id string")

    with pytest.raises(SchemaError, match=r"Stage 'identify' needs cosine_sim_score double"):
        identify_duplicates(df, settings(0.1))
