"""How rows are spread over clusters, and over degrees of similarity. Each function runs one Spark job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LARGEST_CLUSTERS = 20
# Bins of cosine_sim_score, in millionths so that they are exact: [-1, 0), then wide ones, and narrow ones from FINE on.
WIDE, NARROW, FINE, ONE = 20_000, 5_000, 900_000, 1_000_000


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


class Bin(TypedDict):
    """Rows with at_least <= cosine_sim_score < below; a score of 1 is in the last bin."""

    at_least: float
    below: float
    rows: int


class SimilarityBreakdown(TypedDict):
    """How close rows are to the better-ranked row they resemble most; `first` rows have none. rows = first + bins."""

    rows: int
    first: int
    bins: list[Bin]


def break_down_clusters(clusters: DataFrame) -> ClusterBreakdown:
    """Sizes of the clusters, by powers of two, and the largest by id. Rows without a cluster do not count."""
    from pyspark.sql import functions as F

    # One row per cluster comes back: fewer numbers than the centroids, which the driver has held.
    found = clusters.where("cluster_id is not null").groupBy("cluster_id").agg(F.count(F.lit(1)).alias("rows"))
    return spread({int(row["cluster_id"]): int(row["rows"]) for row in found.collect()})


def spread(rows_of: Mapping[int, int]) -> ClusterBreakdown:
    """How rows are spread over clusters, given the rows of each cluster_id."""
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


def break_down_similarity(similarities: DataFrame, id_column: str) -> SimilarityBreakdown:
    """Rows by cosine_sim_score: below 0 in one bin, then in bins of 0.02 up to 0.9 and of 0.005 up to 1."""
    from pyspark.sql import functions as F

    # Scores have 6 decimals: as millionths they are whole numbers.
    score = F.round(F.col("cosine_sim_score") * ONE).cast("bigint")
    width = F.when(score < FINE, WIDE).otherwise(NARROW)
    low = F.when(score < 0, -ONE).otherwise(F.least(score - score % width, F.lit(ONE - NARROW)))
    has_better = F.col(id_column) != F.col("max_id")
    rows = similarities.groupBy(F.when(has_better, low).alias("low")).agg(F.count(F.lit(1)).alias("n")).collect()
    n_rows = {row["low"]: int(row["n"]) for row in rows}
    lows = [-ONE, *range(0, FINE, WIDE), *range(FINE, ONE, NARROW)]
    return {
        "rows": sum(n_rows.values()),
        "first": n_rows.get(None, 0),
        "bins": [
            {"at_least": low / ONE, "below": high / ONE, "rows": n_rows.get(low, 0)}
            for low, high in zip(lows, [*lows[1:], ONE], strict=True)
        ],
    }
