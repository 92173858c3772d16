"""Filters on embeddings: what they score, what they reject, and what they leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pyspark.sql import functions as F

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, ModelError, SchemaError
from spark_imgdedup.models.heads import load_head
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.score import ScoreFilter, filters_of, score_images
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors, vector_column

OWN = "tests.scorers:FirstNumber"


def head_filters(**settings):
    return filters_of(parse_config({"score": settings}).score)


@pytest.fixture
def first_number(tmp_path):
    """An aesthetic head whose score is the first of two numbers."""
    np.savez(tmp_path / "first.npz", weight=np.array([[1.0, 0.0]]))
    return str(tmp_path / "first.npz")


@pytest.fixture
def second_number_nsfw(tmp_path):
    """An NSFW head: the sigmoid of the second of two numbers."""
    state = {"norm.mean": np.zeros(2), "norm.variance": np.ones(2), "l.weight": np.array([[0.0, 1.0]])}
    np.savez(tmp_path / "second.npz", **state)
    return str(tmp_path / "second.npz")


def vector(score):
    """The unit vector whose first number is `score`."""
    return [score, math.sqrt(1 - score * score)]


def table(spark, scores, n_partitions=1):
    rows = [(number, vector(score)) for number, score in enumerate(scores)]
    return local_rows(spark, rows, "n int, embedding array<float>").repartition(n_partitions, "n")


def reasons(df):
    return {row.n: row.rejected_because for row in df.collect()}


# The cases of NeMo Curator's filter tests: scores, limit, how many stay.
@pytest.mark.parametrize(
    ("scores", "limit", "kept"),
    [
        ([0.3, 0.7, 0.2, 0.8], 0.5, [0.7, 0.8]),
        ([0.5, 0.51, 0.49, 0.5], 0.5, [0.5, 0.51, 0.5]),
        ([0.3, 0.7, 0.2, 0.8], 0.9, []),
        ([0.3, 0.7, 0.2, 0.8], 0.1, [0.3, 0.7, 0.2, 0.8]),
        ([], 0.5, []),
    ],
)
def test_an_aesthetic_score_that_reaches_the_limit_stays(scores, limit, kept):
    found = ScoreFilter("aesthetic", None, min_score=limit).reject(np.array(scores))

    assert [score for score, reason in zip(scores, found, strict=True) if reason is None] == kept
    assert set(found) <= {None, "aesthetic"}


@pytest.mark.parametrize(
    ("scores", "limit", "kept"),
    [
        ([0.3, 0.7, 0.2, 0.8], 0.5, [0.3, 0.2]),
        ([0.5, 0.49, 0.51, 0.499], 0.5, [0.49, 0.499]),
        ([0.2, 0.4, 0.6, 0.8], 0.3, [0.2]),
        ([0.2, 0.4, 0.6, 0.8], 0.9, [0.2, 0.4, 0.6, 0.8]),
        ([], 0.5, []),
    ],
)
def test_an_nsfw_score_stays_only_below_the_limit(scores, limit, kept):
    found = ScoreFilter("nsfw", None, max_score=limit).reject(np.array(scores))

    assert [score for score, reason in zip(scores, found, strict=True) if reason is None] == kept
    assert set(found) <= {None, "nsfw"}


def test_nan_is_rejected_with_its_own_reason_by_any_limit_and_by_none_without_one():
    scores = np.array([np.nan, 0.5, -np.inf, np.inf])

    assert ScoreFilter("nsfw", None, max_score=2.0).reject(scores).tolist() == ["nsfw_nan", None, None, "nsfw"]
    assert ScoreFilter("looks", None, min_score=0.0).reject(scores).tolist() == ["looks_nan", None, "looks", None]
    assert ScoreFilter("nsfw", None).reject(scores).tolist() == [None] * 4


@pytest.mark.parametrize("kind", ["array", "float16", "float32"])
def test_scores_are_exact_at_the_limits_however_embeddings_are_stored(spark, first_number, kind):
    column = VectorColumn(kind)
    # Unit vectors that float16 holds to the last bit, and 3:4:5 as float32 does not.
    matrix = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], "f4")
    stored = column.encode(matrix).to_pylist()
    df = local_rows(spark, list(enumerate(stored)), f"n int, embedding {column.spark_type}")
    df = mark_vectors(df, "embedding", column)

    scored = score_images(df, head_filters(aesthetic_head=first_number, min_aesthetic_score=0.0))

    found = {row.n: (row.aesthetic_score, row.rejected_because) for row in scored.collect()}
    assert {n: found[n] for n in range(3)} == {0: (1.0, None), 1: (0.0, None), 2: (-1.0, "aesthetic")}
    assert found[3][0] == pytest.approx(0.6, abs=5e-4 if kind == "float16" else 1e-9)
    assert vector_column(scored, "embedding", stage="test") == column


def test_both_heads_score_every_image_and_the_first_that_rejects_gives_the_reason(
    spark, first_number, second_number_nsfw
):
    filters = head_filters(
        aesthetic_head=first_number, min_aesthetic_score=0.5, nsfw_head=second_number_nsfw, max_nsfw_score=0.7
    )
    scores = [0.3, 0.7, 0.5, 0.9, 0.2, 0.499999, 0.6]

    rows = score_images(table(spark, scores, 3), filters).collect()

    found = {row.n: row for row in rows}
    assert [found[n].aesthetic_score for n in range(7)] == scores
    expected = [1 / (1 + math.exp(-vector(score)[1])) for score in scores]
    assert [found[n].nsfw_score for n in range(7)] == pytest.approx(expected, abs=1e-6)
    assert [found[n].rejected_because for n in range(7)] == [
        "aesthetic",
        None,
        "nsfw",
        None,
        "aesthetic",
        "aesthetic",
        None,
    ]


def test_what_is_rejected_already_keeps_its_reason_and_has_no_score(spark, first_number):
    rows = [
        (0, "a", vector(0.9), None, 1),
        (1, "b", None, "unreadable", 2),
        (2, None, vector(0.9), "zero_embedding", None),
        (3, "d", vector(0.1), None, 4),
    ]
    df = local_rows(
        spark, rows, "n int, key string, embedding array<double>, rejected_because string, width int"
    ).coalesce(1)

    scored = score_images(df, head_filters(aesthetic_head=first_number, min_aesthetic_score=0.5))
    found = scored.collect()

    assert scored.columns == [*df.columns, "aesthetic_score"]
    assert dict(scored.dtypes)["aesthetic_score"] == "double"
    assert [(row.n, row.key, row.width, row.aesthetic_score, row.rejected_because) for row in found] == [
        (0, "a", 1, 0.9, None),
        (1, "b", 2, None, "unreadable"),
        (2, None, None, None, "zero_embedding"),
        (3, "d", 4, 0.1, "aesthetic"),
    ]


def test_a_vector_that_cannot_be_scored_is_rejected_and_says_why(spark, first_number):
    vectors = [[3.0, 4.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], None, [1.0], [], [1.0, 2.0, 3.0], [0.0, 2.0]]
    df = local_rows(spark, list(enumerate(vectors)), "n int, clip array<float>")

    found = score_images(df, head_filters(aesthetic_head=first_number), embedding="clip").collect()

    assert {row.n: row.rejected_because for row in found} == {
        0: None,
        1: "zero_embedding",
        2: "nan_embedding",
        3: "nan_embedding",
        4: "no_embedding",
        5: "wrong_length",
        6: "wrong_length",
        7: "wrong_length",
        8: None,
    }
    # Made unit length before they are scored.
    assert {row.n: row.aesthetic_score for row in found if row.aesthetic_score is not None} == {0: 0.6, 8: 0.0}


def test_the_right_length_is_that_of_most_vectors_and_not_of_those_that_are_read_first(spark, first_number):
    vectors = [[1.0, 0.0, 0.0]] * 80 + [[3.0, 4.0]] * 90
    df = local_rows(spark, list(enumerate(vectors)), "n int, embedding array<float>").coalesce(1)

    found = score_images(df, head_filters(aesthetic_head=first_number)).groupBy("rejected_because").count().collect()

    assert {row["rejected_because"]: row["count"] for row in found} == {"wrong_length": 80, None: 90}


def test_rows_keep_their_order_across_arrow_batches(spark, first_number):
    scores = [((7 * n) % 23) / 23 for n in range(23)]
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "4")
    try:
        rows = score_images(table(spark, scores), head_filters(aesthetic_head=first_number)).collect()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")

    assert [row.n for row in rows] == list(range(23))
    assert [row.aesthetic_score for row in rows] == pytest.approx(scores, abs=1e-6)


def test_a_scorer_of_ones_own_may_give_nan_and_is_limited_on_both_sides(spark):
    df = local_rows(
        spark, [(0, [0.6, 0.8]), (1, [0.6, -0.8]), (2, [1.0, 0.0]), (3, [0.0, 1.0])], "n int, embedding array<float>"
    )

    limited = score_images(df, [ScoreFilter("looks", OWN, min_score=0.5, max_score=1.0)]).collect()
    unlimited = score_images(df, [ScoreFilter("looks", OWN)])

    assert {row.n: row.rejected_because for row in limited} == {0: None, 1: "looks_nan", 2: "looks", 3: "looks"}
    scores = {row.n: row.looks_score for row in limited}
    assert math.isnan(scores.pop(1))
    assert scores == pytest.approx({0: 0.6, 2: 1.0, 3: 0.0}, abs=1e-7)
    assert reasons(unlimited) == dict.fromkeys(range(4))


def test_a_score_that_the_table_has_already_is_filtered_by_and_kept(spark):
    rows = [(0, 0.1, None), (1, 0.5, None), (2, None, None), (3, None, "unreadable"), (4, math.nan, None)]
    df = local_rows(spark, rows, "n int, nsfw_score float, rejected_because string")

    scored = score_images(df, [ScoreFilter("nsfw", None, max_score=0.5)])

    assert scored.dtypes == df.dtypes
    assert reasons(scored) == {0: None, 1: "nsfw", 2: "nsfw_nan", 3: "unreadable", 4: "nsfw_nan"}


def test_scoring_again_replaces_the_scores(spark, first_number):
    once = score_images(table(spark, [0.25, 0.75]), head_filters(aesthetic_head=first_number))

    twice = score_images(once, head_filters(aesthetic_head=first_number, min_aesthetic_score=0.5))

    assert twice.columns == once.columns
    assert {row.n: (row.aesthetic_score, row.rejected_because) for row in twice.collect()} == {
        0: (0.25, "aesthetic"),
        1: (0.75, None),
    }


def test_tables_without_rows_or_without_embeddings_are_no_trouble(spark, first_number):
    filters = head_filters(aesthetic_head=first_number, min_aesthetic_score=0.5)
    schema = "n int, embedding array<float>, rejected_because string"

    none = score_images(local_rows(spark, [], schema), filters)
    unreadable = score_images(local_rows(spark, [(1, None, "unreadable"), (2, None, None)], schema), filters)

    assert none.collect() == []
    assert none.columns == ["n", "embedding", "rejected_because", "aesthetic_score"]
    assert reasons(unreadable) == {1: "unreadable", 2: "no_embedding"}


def test_without_a_filter_the_table_stays_as_it_is(spark):
    df = table(spark, [0.5])

    assert score_images(df, head_filters()).columns == df.columns


def test_a_head_of_another_width_is_refused_before_any_work(spark, first_number):
    df = local_rows(spark, [(0, [1.0, 2.0]), (1, [1.0] * 5), (2, [2.0] * 5)], "n int, embedding array<float>")

    with pytest.raises(ModelError, match=r"head 'first\.npz' takes embeddings of 2 numbers, but these have 5"):
        score_images(df, head_filters(aesthetic_head=first_number))


def test_what_does_not_fit_is_refused_before_any_work(spark, first_number):
    df = table(spark, [0.5])
    aesthetic = ScoreFilter("aesthetic", load_head("aesthetic", first_number))

    with pytest.raises(SchemaError, match="Stage 'score' needs embeddings in column 'clip'"):
        score_images(df, [aesthetic], embedding="clip")
    with pytest.raises(SchemaError, match="Stage 'score' needs nsfw_score"):
        score_images(df, [ScoreFilter("nsfw", None, max_score=0.5)])
    with pytest.raises(ConfigError, match="Two filters are named aesthetic"):
        score_images(df, [aesthetic, aesthetic])
    with pytest.raises(ModelError, match="has no 'SecondNumber'"):
        score_images(df, [ScoreFilter("looks", "tests.scorers:SecondNumber")])
    with pytest.raises(Exception, match=r"shape \(1,\) for 3 vectors"):
        score_images(table(spark, [0.1, 0.2, 0.3]), [ScoreFilter("looks", "tests.scorers:OneForAll")]).collect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_aesthetic_score": 5.0}, r"min_aesthetic_score is 5\.0, but aesthetic_head is not set"),
        ({"max_nsfw_score": 0.5}, r"max_nsfw_score is 0\.5, but nsfw_head is not set"),
    ],
)
def test_a_limit_without_a_head_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        head_filters(**settings)


@pytest.mark.parametrize(
    ("name", "limits", "message"),
    [
        ("my score", {}, "lower case letters, digits and _, got 'my score'"),
        ("nsfw", {"max_score": math.nan}, "filter nsfw: a limit is NaN"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(name, limits, message):
    with pytest.raises(ConfigError, match=message):
        ScoreFilter(name, None, **limits)


def test_scorers_of_the_settings_follow_the_heads_and_filter_columns_that_are_there(spark, first_number):
    filters = filters_of(
        parse_config(
            {
                "score": {
                    "aesthetic_head": first_number,
                    "scorers": [
                        {"name": "looks", "scorer": OWN, "min_score": 0.5},
                        {"name": "open_nsfw", "max_score": 0.8},
                    ],
                }
            }
        ).score
    )
    df = table(spark, [0.9, 0.9, 0.1]).withColumn("open_nsfw_score", (F.col("n") * 0.8).cast("double"))

    rows = score_images(df, filters).orderBy("n").collect()

    assert [each.name for each in filters] == ["aesthetic", "looks", "open_nsfw"]
    assert [row.rejected_because for row in rows] == [None, "open_nsfw", "looks"]
    assert [row.aesthetic_score for row in rows] == [0.9, 0.9, 0.1]


def test_columns_with_dots_in_their_names_stay_as_they_are(spark, first_number):
    df = local_rows(spark, [(1, [0.6, 0.8], "a")], "n int, embedding array<float>, `meta.source` string")

    (row,) = score_images(df, head_filters(aesthetic_head=first_number)).collect()

    assert row.asDict() == {
        "n": 1,
        "embedding": pytest.approx([0.6, 0.8]),
        "meta.source": "a",
        "rejected_because": None,
        "aesthetic_score": 0.6,
    }
