"""How rows are spread over clusters, and over degrees of similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from spark_imgdedup.config import Config
from spark_imgdedup.stages.thresholds import Bin, score_histogram

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LARGEST_CLUSTERS = 20


class ClusterSizes(TypedDict):
    """Clusters of `at_least` to `at_most` rows, and their rows together."""

    at_least: int
    at_most: int
    clusters: int
    rows: int


class Cluster(TypedDict):
    """One cluster."""

    cluster_id: int
    rows: int


class LargestClusters(TypedDict):
    """`shown` of `of` clusters, the largest first."""

    shown: int
    of: int
    rows: list[Cluster]


class ClusterBreakdown(TypedDict):
    """How rows are spread over clusters."""

    clusters: int
    rows: int
    share_of_largest: float
    sizes: list[ClusterSizes]
    largest: LargestClusters


# {from, below, rows}: rows with from <= cosine_sim_score < below; null is no bound.
ScoreBin = TypedDict("ScoreBin", {"from": float | None, "below": float | None, "rows": int})


class SimilarityBreakdown(TypedDict):
    """How close rows are to the better-ranked row they resemble most; `first` rows have none. rows = first + bins."""

    rows: int
    first: int
    bins: list[ScoreBin]  # from 1 down


def spread(rows_of: Mapping[int, int]) -> ClusterBreakdown:
    """Sizes of the clusters, by powers of two, and the largest by id, given the rows of each cluster_id."""
    n_rows = sum(rows_of.values())
    in_order = sorted(rows_of.items(), key=lambda item: (-item[1], item[0]))
    by_power: dict[int, list[int]] = {}
    for n in sorted(rows_of.values()):
        by_power.setdefault(n.bit_length() - 1, []).append(n)
    return {
        "clusters": len(rows_of),
        "rows": n_rows,
        "share_of_largest": round(in_order[0][1] / n_rows, 6) if n_rows else 0.0,
        "sizes": [
            {"at_least": 1 << power, "at_most": (2 << power) - 1, "clusters": len(sizes), "rows": sum(sizes)}
            for power, sizes in by_power.items()
        ],
        "largest": {
            "shown": len(in_order[:LARGEST_CLUSTERS]),
            "of": len(rows_of),
            "rows": [{"cluster_id": cluster, "rows": n} for cluster, n in in_order[:LARGEST_CLUSTERS]],
        },
    }


def break_down_similarity(similarities: DataFrame, config: Config) -> SimilarityBreakdown:
    """Rows by cosine_sim_score, in the bins of `spark-imgdedup eps`; one Spark job."""
    n_rows, bins = score_histogram(similarities, config)
    n_scored = sum(each.n_rows for each in bins)
    return {"rows": n_rows, "first": n_rows - n_scored, "bins": [bin_of(each) for each in bins]}


def bin_of(counted: Bin) -> ScoreBin:
    """A bin as JSON has it."""
    return {"from": counted.low, "below": counted.high, "rows": counted.n_rows}
