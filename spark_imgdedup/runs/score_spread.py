"""How scores are spread: the lowest, the median and the highest, the same however the rows are divided among tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A median is that of so many rows, drawn by a hash of their ids; of fewer rows it is exact. Spark's approximate
# percentiles depend on which rows a task has.
MEDIAN_ROWS = 10_000


def score_spread(scored: DataFrame, columns: Sequence[str], id_column: str) -> dict[str, list[float] | None]:
    """Lowest, median (the lower of two) and highest score of each column; None where no row has one.

    NaN is no score. Runs two Spark jobs for each column.
    """
    from pyspark.sql import functions as F

    id_, found = F.col(quoted(id_column)), dict[str, list[float] | None]()
    for name in columns:
        score = F.col(quoted(name)).cast("double")
        rows = scored.select(score.alias("score"), id_.alias("id")).where("score is not null and not isnan(score)")
        low, high = rows.agg(F.min("score"), F.max("score")).collect()[0]
        drawn = rows.orderBy(F.xxhash64("id"), "id").limit(MEDIAN_ROWS).select("score").collect()
        values = sorted(row["score"] for row in drawn)
        found[name] = [low, values[(len(values) - 1) // 2], high] if values else None
    return found
