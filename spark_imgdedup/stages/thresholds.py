"""similarities -> what each eps would remove, and the eps that keeps a given share. What is here runs Spark jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.identify import similarity_threshold

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Scores are decimals of 6 places: a score in millionths is an exact integer.
MILLION = 1_000_000
# Lower ends of the histogram's bins, finer near 1 where copies are; scores below the last of them are one more bin.
BIN_EDGES = (
    *(1.0, 0.999, 0.995, 0.99, 0.98, 0.96, 0.94, 0.92, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65),
    *(0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0),
)


@dataclass(frozen=True)
class Pair:
    """A row and the better-ranked row that it resembles most."""

    id: str | int
    max_id: str | int
    cosine_sim_score: float


@dataclass(frozen=True)
class EpsLevel:
    """What one eps would remove."""

    eps: float
    score_from: float  # the lowest cosine_sim_score of a duplicate
    n_removed: int
    n_new: int  # of these, rows that the next smaller eps leaves
    pairs: tuple[Pair, ...] = ()  # sampled from the new ones, the highest score first
    n_groups: int | None = None  # images that stay for others; None where the rule makes no groups
    largest: int | None = None  # images of the largest group, with the one that stays


@dataclass(frozen=True)
class Bin:
    """Rows with low <= cosine_sim_score < high; None is no bound."""

    low: float | None
    high: float | None
    n_rows: int


@dataclass(frozen=True)
class ScoreSurvey:
    """How the scores are spread, and what each eps makes of them."""

    n_rows: int
    n_with_better: int  # rows that a better-ranked one was compared with; the others are never removed
    levels: tuple[EpsLevel, ...]  # by ascending eps
    histogram: tuple[Bin, ...]  # of the n_with_better rows, from 1 down


def survey_scores(similarities: DataFrame, levels: Sequence[float], config: Config, *, n_pairs: int = 0) -> ScoreSurvey:
    """Rows removed at each level and a histogram of the scores, in one pass; pairs in another.

    Pairs are sampled by a hash of their ids, so they are the same ones every time.

    Args:
        similarities: What `score_pairs` gives.
        levels: Values of eps, in any order.
        config: Names the id column.
        n_pairs: Pairs to sample among the rows that are new at each level; 0 saves the second pass.

    Raises:
        SchemaError: `similarities` lacks a column.
    """
    _require_scores(similarities, config)
    ordered = sorted(set(levels))
    lows = [similarity_threshold(eps) for eps in ordered]
    n_rows, n_with_better, reaching = _count_reaching(similarities, (*lows, *BIN_EDGES), config)
    removed, above = reaching[: len(lows)], [*reaching[len(lows) :], n_with_better]
    pairs = _sample_pairs(similarities, lows, config, n_pairs) if n_pairs else {}
    return ScoreSurvey(
        n_rows,
        n_with_better,
        tuple(
            EpsLevel(eps, low, n, n - before, tuple(pairs.get(place, ())))
            for place, (eps, low, n, before) in enumerate(zip(ordered, lows, removed, [0, *removed], strict=False))
        ),
        _bins(above),
    )


def score_histogram(similarities: DataFrame, config: Config) -> tuple[int, tuple[Bin, ...]]:
    """(rows, the histogram that `survey_scores` gives), in one pass."""
    n_rows, n_with_better, above = _count_reaching(similarities, BIN_EDGES, config)
    return n_rows, _bins([*above, n_with_better])


def _bins(reaching: Sequence[int]) -> tuple[Bin, ...]:
    bounds = (None, *BIN_EDGES, None)
    return tuple(
        Bin(low, high, n - before)
        for high, low, n, before in zip(bounds, bounds[1:], reaching, [0, *reaching], strict=False)
    )


def eps_for_share(similarities: DataFrame, target: float, config: Config, *, n_removed_already: int = 0) -> float:
    """The largest eps, to 6 decimals, that leaves at least the share `target` of all rows; one Spark job.

    Rows of one score go together or not at all, so more than `target` may stay, never less.

    Args:
        similarities: What `score_pairs` gives.
        target: The share to keep, in (0, 1), taken as the decimal it is written as.
        config: Names the id column.
        n_removed_already: Rows that go whatever the eps is, such as copies that a hash found. They are not in
            `similarities`, and count among all rows and among the removed.

    Returns:
        An eps in [0, 1) that `identify_duplicates` takes.

    Raises:
        ConfigError: eps 0 leaves less than that.
        SchemaError: `similarities` lacks a column.
    """
    _require_scores(similarities, config)
    scores, counts, n_compared = _rows_by_score(similarities, config)
    n_rows = n_compared + n_removed_already
    # As the decimal: 0.55 * 100 is 55.00000000000001 in binary, which asks for 56 rows.
    may_go = n_rows - math.ceil(Fraction(str(target)) * n_rows) - n_removed_already
    threshold = lowest_threshold(scores, counts, may_go)
    if threshold is None:
        n_copies = int(counts[scores >= MILLION].sum())
        stay = n_rows - n_removed_already - n_copies
        hashed = f" and {n_removed_already:,} were found by their hashes" if n_removed_already else ""
        raise ConfigError(
            f"identify.target_keep_fraction: {target} cannot be kept: of {n_rows:,} rows {n_copies:,} are exact copies "
            f"of a better-ranked one (cosine 1.000000){hashed}, so eps 0 keeps only {stay:,} ({stay / n_rows:.2%}). "
            f"Lower it to {stay * 10_000 // n_rows / 10_000:g}, or set identify.eps: 0 instead."
        )
    return (MILLION - threshold) / MILLION


def lowest_threshold(scores: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], may_go: int) -> int | None:
    """The lowest score in 1 .. 1,000,000 that at most `may_go` rows reach; None where even the highest has more.

    Args:
        scores: (N,) distinct scores in millionths, in any order.
        counts: (N,) rows of each.
        may_go: Rows that may reach it; below 0 none can.
    """
    if may_go < 0:
        return None
    falling = np.argsort(-scores)
    over = np.flatnonzero(np.cumsum(counts[falling]) > may_go)
    lowest = max(int(scores[falling][over[0]]) + 1, 1) if len(over) else 1
    return lowest if lowest <= MILLION else None


def _require_scores(similarities: DataFrame, config: Config) -> None:
    schemas.require(similarities, {config.id_column: None, "max_id": None, "cosine_sim_score": "double"}, stage="eps")


def _score(config: Config) -> Column:
    """The score of a row that some eps would remove; null for a row that ranks first, and for NaN."""
    from pyspark.sql import functions as F

    score = F.col("cosine_sim_score")
    return F.when((F.col(quoted(config.id_column)) != F.col("max_id")) & ~F.isnan(score), score)


def _count_reaching(similarities: DataFrame, lows: Sequence[float], config: Config) -> tuple[int, int, list[int]]:
    """(rows, rows with a score, for each low the rows whose score is at least that)."""
    from pyspark.sql import functions as F

    score = F.col("score")
    counts = [F.count_if(score >= low).alias(f"n{place}") for place, low in enumerate(lows)]
    scored = similarities.select(_score(config).alias("score"))
    row = scored.agg(F.count(F.lit(1)).alias("rows"), F.count(score).alias("scored"), *counts).collect()[0]
    return int(row["rows"]), int(row["scored"]), [int(row[f"n{place}"]) for place in range(len(lows))]


def _rows_by_score(similarities: DataFrame, config: Config) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Distinct scores above 0 in millionths, the rows of each, and the number of all rows; at most 10^6 come back."""
    from pyspark.sql import functions as F

    score = F.col("score")
    nearest = F.floor(score * MILLION + 0.5)
    # nearest / MILLION is the double that similarity_threshold gives, so scores of more decimals fall on the same side.
    millionths = F.when(nearest / MILLION > score, nearest - 1).otherwise(nearest)
    scored = similarities.select(_score(config).alias("score"))
    grouped = scored.groupBy(F.when(score > 0, millionths).alias("millionths")).agg(F.count(F.lit(1)).alias("n"))
    # Spark 3.5 has no toArrow.
    table = grouped.toArrow() if hasattr(grouped, "toArrow") else pa.Table.from_pandas(grouped.toPandas())
    counts = table["n"].to_numpy().astype(np.int64)
    keys = table["millionths"].fill_null(0).to_numpy().astype(np.int64)
    return keys[keys > 0], counts[keys > 0], int(counts.sum())


def _sample_pairs(
    similarities: DataFrame, lows: Sequence[float], config: Config, n_pairs: int
) -> dict[int, list[Pair]]:
    """For the place of each low, pairs whose score lies between it and the one before."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    score, id_ = F.col("cosine_sim_score"), F.col(quoted(config.id_column))
    place = F.lit(None).cast("int")
    for number, low in reversed(list(enumerate(lows))):
        place = F.when(_score(config) >= low, number).otherwise(place)
    placed = similarities.select(id_.alias("id"), "max_id", score, place.alias("place")).where("place is not null")
    # Spark takes the first rows of each group before it moves any (InferWindowGroupLimit), so a large one is no burden.
    in_order = Window.partitionBy("place").orderBy(F.xxhash64("id"), "id")
    drawn = placed.withColumn("number", F.row_number().over(in_order)).where(F.col("number") <= n_pairs)
    found: dict[int, list[Pair]] = {}
    for row in drawn.orderBy("place", F.desc("cosine_sim_score"), "id").collect():
        found.setdefault(row["place"], []).append(Pair(row["id"], row["max_id"], row["cosine_sim_score"]))
    return found
