"""similarities -> duplicates: an image that resembles a better-ranked one closely enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame


def similarity_threshold(eps: float) -> float:
    """The lowest cosine_sim_score of a duplicate: 1 - eps to 6 decimals (1 - 0.18 is 0.8200000000000001 in binary)."""
    return round(1 - eps, 6)


def identify_duplicates(similarities: DataFrame, config: Config) -> DataFrame:
    """The rows whose cosine_sim_score reaches 1 - eps: id, max_id (the image it repeats), cosine_sim_score, cluster_id.

    Raises:
        ConfigError: identify.eps is not a number; `pipeline.run` resolves auto before it comes here.
        SchemaError: `similarities` is not what `score_pairs` gives.
    """
    from pyspark.sql import functions as F

    eps = config.identify.eps
    if not isinstance(eps, float):
        raise ConfigError(
            f"identify.eps must be a number here, got {eps!r}. `spark-imgdedup eps` prints what each eps would remove."
        )
    columns = {config.id_column: None, "max_id": None, "cosine_sim_score": "double", "cluster_id": "int"}
    schemas.require(similarities, columns, stage="identify")
    # The best-ranked row names itself and scores 0: it is never a duplicate, not even for eps just below 1.
    repeats_another = F.col(config.id_column) != F.col("max_id")
    reaches = F.col("cosine_sim_score") >= similarity_threshold(eps)
    return similarities.where(repeats_another & reaches).select(*columns)


def count_by_eps(similarities: DataFrame, levels: Sequence[float], config: Config) -> list[tuple[float, int]]:
    """(eps, rows it would remove) for each level, in one pass over the scores. Runs a Spark job."""
    from pyspark.sql import functions as F

    repeats_another = F.col(config.id_column) != F.col("max_id")
    counts = [
        F.count_if(repeats_another & (F.col("cosine_sim_score") >= similarity_threshold(eps))).alias(f"n{place}")
        for place, eps in enumerate(levels)
    ]
    row = similarities.agg(*counts).first()
    return [(eps, int(row[f"n{place}"]) if row else 0) for place, eps in enumerate(levels)]
