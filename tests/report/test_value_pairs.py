"""Duplicates by the values of both images, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spark_imgdedup.report.value_pairs import MOST_PAIRS, break_down_pairs

N = 300


def frames():
    """Samples with a source, a format, a field of few values and one of many; the last third goes for the first."""
    rng = np.random.default_rng(5)
    samples = pd.DataFrame(
        {
            "image_id": [f"i{n:03d}" for n in range(N)],
            "_source": "photos",
            "image_format": rng.choice(["jpeg", "png"], N),
            "split": [None if n == 0 else f"split {n % 3}" for n in rng.integers(0, 7, N)],
            "a.url": [f"u{n}" for n in rng.integers(0, 40, N)],
        }
    )
    ids = samples["image_id"]
    duplicates = pd.DataFrame({"image_id": ids[200:].to_numpy(), "kept_id": rng.choice(ids[:100], 100)})
    return samples, duplicates


def by_pandas(samples, duplicates, column):
    value = samples.set_index("image_id")[column].astype(object).where(lambda each: each.notna(), None)
    pairs = zip(duplicates["image_id"].map(value), duplicates["kept_id"].map(value), strict=True)
    counts = pd.Series([(None if a is None else a, None if b is None else b) for a, b in pairs]).value_counts()
    return {pair: int(n) for pair, n in counts.items()}


def test_pairs_of_values_are_what_pandas_counts_and_add_up(spark):
    samples, duplicates = frames()

    found = break_down_pairs(
        spark.createDataFrame(duplicates), spark.createDataFrame(samples), "image_id", ("split", "a.url")
    )

    assert list(found) == ["format", "field split", "field a.url"]  # there is one source
    for name, column in (("format", "image_format"), ("field split", "split"), ("field a.url", "a.url")):
        expected, table = by_pandas(samples, duplicates, column), found[name]
        shown = {(row["goes"], row["stays"]): row["duplicates"] for row in table["rows"]}
        assert (table["of"], table["pairs"]) == (len(expected), 100)
        assert table["across"] == sum(n for (goes, stays), n in expected.items() if goes != stays)
        assert table["shown"] == len(table["rows"]) == min(len(expected), MOST_PAIRS)
        assert shown.items() <= expected.items()
        assert list(shown.values()) == sorted(expected.values(), reverse=True)[:MOST_PAIRS]
