"""The numbers that a run tells of its scores."""

from __future__ import annotations

import math

import numpy as np

from spark_imgdedup.runs import score_spread as module
from spark_imgdedup.runs.score_spread import score_spread
from spark_imgdedup.stages.local_rows import local_rows


def test_the_spread_is_of_numbers_alone_and_the_lower_of_two_medians(spark):
    rows = [("a", 4.0), ("b", 1.0), ("c", math.nan), ("d", None), ("e", 2.0), ("f", 3.0)]
    df = local_rows(spark, rows, "id string, `my score` double").selectExpr("*", "cast(null as double) none")

    assert score_spread(df, ["my score", "none"], "id") == {"my score": [1.0, 2.0, 4.0], "none": None}


def test_the_median_of_many_rows_does_not_depend_on_how_they_are_divided(spark, monkeypatch):
    monkeypatch.setattr(module, "MEDIAN_ROWS", 100)
    scores = np.random.default_rng(0).standard_normal(3000).tolist()
    df = local_rows(spark, list(enumerate(scores)), "id bigint, score double")

    spreads = [score_spread(df.repartition(parts, key), ["score"], "id") for parts, key in ((1, "id"), (5, "score"))]

    assert spreads[0] == spreads[1]
    low, median, high = spreads[0]["score"]
    assert (low, high) == (min(scores), max(scores))
    assert abs(median) < 0.5
